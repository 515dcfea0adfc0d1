"""The body of an answer as it was meant: all of it, though its framing said otherwise."""

import json

from worker.decoding import inflating
from worker.provider.line import BODY_MAX, Reply

_SUCCESSES = range(200, 300)


def whole(reply: Reply) -> bytes | None:
    """Return the body of an answer, inflated if it is compressed; None when it did not come whole.

    One that broke off after its last brace (a length that is wrong, a garbled trailer, a connection that is
    not closed) is whole: JSON says itself where it ends.
    """
    if reply.body is not None:
        return plain(reply.body)
    body = plain(bytes(reply.part)) if reply.status in _SUCCESSES else b""
    return body if _is_object(body) else None


def plain(body: bytes) -> bytes:
    """Return a body, inflated within the bound of bodies if it is compressed."""
    return inflating.whole(body, BODY_MAX)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False
