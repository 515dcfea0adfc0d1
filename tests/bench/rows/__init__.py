"""A file for each question, which returns its figures."""
