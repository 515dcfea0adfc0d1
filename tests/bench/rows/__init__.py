"""One file per question; each gives its figures."""
