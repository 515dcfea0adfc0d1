"""A proxy before PostgreSQL that lets a COMMIT through and drops its answer, as a dying network does.

Or a statement that commits by itself: `at` is what tells it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass
class Proxy:
    """Passes everything on; `drop` answers to `at` are swallowed, and their connections cut."""

    url: str
    drop: int = 0
    at: bytes = b"COMMIT"
    dropped: int = 0

    async def carry(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        """Carry one connection until either side ends it."""
        try:
            server, to_server = await asyncio.open_connection(host, port)
        except OSError:  # PostgreSQL is away, and whoever asked shall see just that
            to_client.transport.abort()
            return
        committed = asyncio.Event()

        async def up() -> None:
            while data := await client.read(65_536):
                if self.drop and self.at in data:
                    self.drop -= 1
                    committed.set()
                to_server.write(data)

        async def down() -> None:
            while data := await server.read(65_536):
                if committed.is_set():
                    self.dropped += 1  # it has taken effect, and nobody will hear of it
                    return
                to_client.write(data)

        ways = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for writer in (to_client, to_server):
                writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


@asynccontextmanager
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """Stand before the server of this URL; returns the URL to use instead."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    made = Proxy("")
    carried: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(
            made.carry(reader, writer, parts.hostname or "", parts.port or 0)
        )
        carried.add(task)
        task.add_done_callback(carried.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    netloc = f"{parts.username}:{parts.password}@127.0.0.1:{port}"
    made.url = urlunsplit(parts._replace(netloc=netloc))
    try:
        yield made
    finally:
        server.close()
        for task in list(carried):
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
        await server.wait_closed()
