"""The roles that act: the dispatcher decides what runs next, the worker calls out."""
