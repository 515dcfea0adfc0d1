"""From the body of a batch to its rows: read as a stream, judged row by row, and taken as one.

Owns the formats (JSON, NDJSON, CSV) and the child process that judges what is large.
Promises: every row is judged before anything is created; a large body holds up no other request, for
neither its bytes nor its rows are ever in this process as a whole.
Never asks the database what a row is: what depends on it (prices, networks) is told to the child.
"""

__all__ = ["results", "spooling", "taking"]
