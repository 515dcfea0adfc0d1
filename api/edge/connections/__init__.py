"""Connections: from the first byte of a client to its last, and uvicorn that serves them.

`connection` bounds the head of a request, `crowd` how many there are, `receipts` tells whether an answer
was read, `serving` is how a process stops.
Promises: every bound holds before a byte is kept, and no request that was begun is reset by a restart.
Knows no route.
"""

__all__ = ["receipts", "serving"]
