"""The body of a batch on its way to a temporary file: never more of it in memory than a piece."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from tempfile import TemporaryFile
from typing import IO

from fastapi import Request

from api.batching.formats import Kind
from api.dependencies.bodies import JsonRoute, media_type, unsupported

_PIECE = 256 * 1024  # bytes that are written at once
_KINDS: dict[str, Kind] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "text/csv": "csv",
}


class StreamedRoute(JsonRoute):
    """A route that needs a key, and whose body is not read before its function reads it."""

    async def read(self, request: Request) -> Request:
        """Leave the body where it is."""
        return request


@dataclass(frozen=True, slots=True)
class Spooled:
    """A body that has come: its file, its length in bytes, the hash of its bytes."""

    file: IO[bytes]
    size: int
    sha256: bytes


def kind_of(request: Request) -> Kind:
    """Return the format of a body, by its type; raises `UnsupportedMedia`."""
    kind = _KINDS.get(media_type(request) or "")
    if kind is None:
        raise unsupported(request, "`application/json`, `application/x-ndjson` or `text/csv`")
    return kind


@asynccontextmanager
async def spool(request: Request) -> AsyncIterator[Spooled]:
    """Read a body into a file without a name: nothing stays behind, also when this process is killed."""
    with TemporaryFile() as file:
        digest, size, pieces = sha256(), 0, bytearray()

        def write() -> None:
            digest.update(pieces)
            file.write(pieces)
            file.flush()
            pieces.clear()

        async for chunk in request.stream():
            pieces += chunk
            size += len(chunk)
            if len(pieces) >= _PIECE:
                await asyncio.to_thread(write)
        await asyncio.to_thread(write)
        file.seek(0)
        yield Spooled(file, size, digest.digest())
