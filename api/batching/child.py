"""The child that judges the rows of a large batch, a program of its own.

    python -m api.batching.child <body's descriptor> <rows' descriptor>

The terms come on stdin as JSON, and the report goes to stdout, as `handover` has both. It has no secret,
and Python's lock of its own: seconds of parsing hold up no request of the process that asked.
"""

import sys
from collections import deque
from contextlib import suppress
from os import fdopen, nice

from api.batching import handover
from api.batching.judging import judge
from models.errors import Refusal


def main() -> None:
    """Judge one batch, and end."""
    with suppress(OSError):
        nice(5)  # requests that are being answered go first
    terms = handover.read_terms(sys.stdin.buffer.read())
    with fdopen(int(sys.argv[1]), "rb") as body, fdopen(int(sys.argv[2]), "wb") as rows:
        try:
            said = handover.write_report(deque(judge(body, terms, rows), maxlen=1)[0])
        except Refusal as refused:
            said = handover.write_refusal(refused)
    sys.stdout.buffer.write(said)


if __name__ == "__main__":
    main()
