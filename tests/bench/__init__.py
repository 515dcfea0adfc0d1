"""`make bench`: Darkroom beside what else one might have built, in one run on one machine."""
