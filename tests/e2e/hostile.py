"""Receivers of webhooks as they are in the world: most are well, some hang, drip, fail or lead astray.

One server for all of them, a path each, in a thread and on a loop of its own: what it writes down is
what arrived and when, and it is judged afterwards, so that a verdict costs no delivery its time.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import uvloop
from standardwebhooks import Webhook

from tests.e2e.shapes import Event

Way = Literal["well", "hang", "fail", "gone", "drip", "redirect"]
Moment = Literal["connected", "received", "answered"]

_DRIP = 0.2  # seconds between two bytes
_FRESH = 300  # seconds that the library tolerates


@dataclass(frozen=True)
class Hit:
    """One request; `at` is this machine's clock, in unix seconds, when the whole of it was there."""

    path: str
    at: float
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> Event:
        """The event itself."""
        return Event.model_validate_json(self.body)

    def verifies(self, secret: str) -> bool:
        """Return whether this secret signed it lately, as the library that customers use would sign it.

        Its own `verify` asks the clock, and judges after minutes that a message is too old.
        """
        signed_at = int(self.headers["webhook-timestamp"])
        moment = datetime.fromtimestamp(signed_at, UTC)
        right = Webhook(secret).sign(self.id, moment, self.body.decode())
        fresh = abs(self.at - signed_at) < _FRESH
        return fresh and right in self.headers["webhook-signature"].split(" ")


@dataclass
class Crowd:
    """Every receiver; `url` is what a path is appended to.

    `ways` says how a path behaves, well if it is not in there. `passing` is called, in the server's
    thread, at each moment of a request's way.
    """

    url: str = ""
    hits: list[Hit] = field(default_factory=list)
    ways: dict[str, Way] = field(default_factory=dict)
    passing: Callable[[Moment], None] = lambda _now: None
    strayed: int = 0  # connections to where a redirect leads
    astray: str = ""

    def of(self, path: str) -> list[Hit]:
        """Return what came to one path."""
        return [hit for hit in list(self.hits) if hit.path == path]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request, and behave."""
        self.passing("connected")
        hit = await _read(reader)
        self.hits.append(hit)
        self.passing("received")
        match self.ways.get(hit.path, "well"):
            case "well":
                writer.write(_head(204))
            case "fail":
                writer.write(_head(500))
            case "gone":
                writer.write(_head(410))
            case "redirect":
                writer.write(_head(307, f"location: {self.astray}"))
            case "hang":
                await reader.read()  # until the other side has had enough
            case "drip":
                await _drip(writer)
        await writer.drain()
        self.passing("answered")

    async def stray(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be what no webhook may ever reach."""
        del reader
        self.strayed += 1
        writer.write(_head(204))


@contextmanager
def gathered() -> Iterator[Crowd]:
    """Run a crowd of receivers on a free port until the block ends."""
    crowd, ready, loop = Crowd(), threading.Event(), uvloop.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        main = await asyncio.start_server(_closing(crowd.answer), "127.0.0.1", backlog=1024)
        canary = await asyncio.start_server(_closing(crowd.stray), "127.0.0.1")
        crowd.url = _url(main)
        crowd.astray = f"{_url(canary)}/inside"
        ready.set()
        await ended.wait()
        main.close()
        canary.close()
        await asyncio.sleep(0)  # for who was let in just now
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)  # for what was closed just now

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="crowd")
    thread.start()
    ready.wait()
    try:
        yield crowd
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _read(reader: asyncio.StreamReader) -> Hit:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(": ") for line in head[1:] if line)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return Hit(head[0].split(" ")[1], time.time(), headers, body)


def _head(status: int, *lines: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} S", "content-length: 0", *lines, "", "")).encode()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not writer.is_closing():  # uvloop raises what is no OSError for a write after that
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(_DRIP)


def _closing(
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):  # whoever sent it is dead by now
                await converse(reader, writer)
        finally:
            writer.close()

    return run


def _url(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
