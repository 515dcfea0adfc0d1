"""The image: built from the real Dockerfile on a base made here, and its roles run from it."""
