"""Bytes of the store as an answer: whole or in part, cached, and harmless in a browser."""

import re

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api.contract.formats.etags import matches
from api.dependencies.state import State
from models.errors import ImageExpired
from models.images.store_errors import Missing

# The bytes under such a URL never change; a browser may keep them as long as it likes.
CACHING = "private, max-age=31536000, immutable"
# Clients in browsers send the API key along with a signed URL: that is asked about first (a preflight).
SHARED = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Content-Length, Content-Range, Content-Disposition, ETag",
    "cross-origin-resource-policy": "cross-origin",
}
_NOTHING = (0, 0)  # a range that no byte of the image is in
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def named(name: str, content_type: str) -> dict[str, str]:
    """Return the headers that say what the bytes are, and under which name a browser saves them.

    Whatever a model drew into them, a browser runs none of it.
    """
    ending = content_type.partition("/")[2].replace("jpeg", "jpg")
    return {
        "content-type": content_type,
        "content-disposition": f'inline; filename="{name}.{ending}"',
        "content-security-policy": "default-src 'none'; sandbox",
    }


async def send(
    request: Request, here: State, key: str, tag: str, headed: dict[str, str], range_: str | None
) -> Response:
    """Send what lies under a key of the store, or the part that is asked for; `tag` names its bytes.

    Raises `ImageExpired` where nothing is there any more.
    """
    etag = f'"{tag}"'
    headers = {"etag": etag, "cache-control": CACHING, "accept-ranges": "bytes"}
    headers |= headed | SHARED
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    size = await here.store.size(key)
    if size is None:
        raise ImageExpired("The image is no longer in the store.")
    wanted = _range(range_, size) if request.headers.get("if-range", etag) == etag else None
    if wanted == _NOTHING:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
    start, end = (0, size) if wanted is None else wanted
    headers["content-length"] = str(end - start)
    if wanted is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    try:
        chunks = await here.store.open(key, start=start, end=end)
    except Missing:
        raise ImageExpired("The image is no longer in the store.") from None
    return StreamingResponse(chunks, 206 if wanted else 200, headers)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range (RFC 9110, 14.1.2): start and end (exclusive), or None to ignore it."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        last = int(match[2])
        return (max(size - last, 0), size) if last and size else _NOTHING
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= size:
        return _NOTHING
    return (start, end) if start < end else None
