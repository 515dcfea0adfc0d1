"""A receiver of webhooks that costs little: it notes who came when, and answers 204."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httptools

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """What came in: the moment (unix seconds) of each webhook, and its body, in their order."""

    def __init__(self) -> None:
        self.url = ""
        self.came: list[tuple[float, bytes]] = []
        self._arrived = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator["Receiver"]:
        """Listen on a free port of 127.0.0.1 until the block ends."""
        receiver = cls()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Visit(receiver), "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        receiver.url = f"http://127.0.0.1:{port}/webhook"
        try:
            yield receiver
        finally:
            server.close()

    async def until(self, count: int, patience: float = 300.0) -> None:
        """Wait until so many have come in all."""
        async with asyncio.timeout(patience), self._arrived:
            await self._arrived.wait_for(lambda: len(self.came) >= count)

    async def told_of(self, job_id: str, patience: float = 60.0) -> None:
        """Wait until a webhook about this job has come."""
        named = job_id.encode()
        async with asyncio.timeout(patience), self._arrived:
            await self._arrived.wait_for(lambda: any(named in body for _, body in self.came[-9:]))

    def note(self, body: bytes) -> None:
        """Take one in."""
        self.came.append((time.time(), body))
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()


class _Visit(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._body: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not `isinstance`: uvloop's transports only look like asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        self._receiver.note(b"".join(self._body))
        self._body.clear()
        if self._transport is not None:
            self._transport.write(_ANSWER)
