"""Bytes that came compressed though they were asked for as they are.

How they begin tells it, not a header: no JSON and no image begins so, and headers are wrong both ways.
"""

import zlib
from collections.abc import AsyncIterator

_BEGINNINGS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_SHORTEST = 2  # bytes of a beginning
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # which of both, is found out
_PIECE = 64 * 1024  # bytes inflated at once: 200 kB may hold 200 MB


def whole(body: bytes, most: int) -> bytes:
    """Return a body, inflated to at most `most` bytes if it is compressed; as it is when that is broken."""
    if not body.startswith(_BEGINNINGS):
        return body
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, most)
    except zlib.error:
        return body


async def stream(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass chunks on, inflated if they are compressed; the reader counts what comes of them.

    Raises `zlib.error` for what is broken.
    """
    begun = b""
    async for chunk in chunks:
        begun += chunk
        if len(begun) >= _SHORTEST:
            break
    if not begun.startswith(_BEGINNINGS):
        yield begun
        async for chunk in chunks:
            yield chunk
        return
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    while begun:
        while piece := inflater.decompress(begun, _PIECE):
            yield piece
            begun = inflater.unconsumed_tail
        begun = await anext(chunks, b"") if not inflater.eof else b""
