"""The body of an answer as it was meant: all of it, though its framing said otherwise."""

import json
import zlib

from worker.provider import images
from worker.provider.line import BODY_MAX, Reply

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # which of both, is found out
_SUCCESSES = range(200, 300)


def whole(reply: Reply) -> bytes | None:
    """Return the body of an answer, inflated if it is compressed; None when it did not come whole.

    One that broke off after its last brace (a length that is wrong, a garbled trailer, a connection that is
    not closed) is whole: JSON says itself where it ends. So is one that broke off behind an image's URL.
    """
    if reply.body is not None:
        return _plain(reply.body)
    if reply.status not in _SUCCESSES or not reply.part:
        return None
    body = _plain(bytes(reply.part))
    return body if _is_object(body) or images.rescue(body) is not None else None


def _plain(body: bytes) -> bytes:
    """Inflate what is compressed, though it was asked for as it is: no JSON begins like that."""
    if not body.startswith((b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")):
        return body
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, BODY_MAX)
    except zlib.error:
        return body


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False
