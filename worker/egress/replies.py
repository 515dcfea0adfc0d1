"""An answer from an address that others chose, while its body still comes: read, dropped or given on."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from worker.decoding import inflating
from worker.egress import wire
from worker.egress.connection import Unreachable, plainly
from worker.egress.wire import Meter

_CHUNK = 64 * 1024  # bytes given to a reader at once, at most
_SILENCE = 2.0  # seconds without a byte: nobody waits longer for what is thrown away


@dataclass(frozen=True)
class Reply:
    """Status and headers (names in lower case), and a body to be read once."""

    response: aiohttp.ClientResponse
    meter: Meter

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; a name that came twice has both values."""
        return wire.headers_of(self.response.headers.items())

    async def read_away(self, most: int) -> None:
        """Read and drop what follows a status, so that its sender is not cut off."""
        with suppress(Unreachable, TimeoutError):
            while most > 0:
                async with asyncio.timeout(_SILENCE):
                    chunk = await self._read(most)
                if not chunk:
                    return
                most -= len(chunk)

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """Return the body, inflated if it is compressed; raises `Unreachable`, also beyond `max_bytes`."""
        unread = max_bytes
        if (self.response.content_length or 0) > unread:
            raise Unreachable("too_large")
        try:
            async for chunk in inflating.stream(self._pieces()):
                unread -= len(chunk)
                if unread < 0:
                    raise Unreachable("too_large")
                yield chunk
        except zlib.error as broken:
            raise Unreachable("protocol") from broken

    async def _pieces(self) -> AsyncIterator[bytes]:
        while chunk := await self._read(_CHUNK):
            yield chunk

    async def _read(self, most: int) -> bytes:
        """Read the next bytes of the body, none at its end; raises `Unreachable`."""
        with plainly(self.meter):
            chunk = await self.response.content.read(most)
        if not chunk and self.meter.overrun:  # a body without a length ends wherever it is cut
            raise Unreachable("too_large")
        return chunk
