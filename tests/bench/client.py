"""A client that costs little: raw HTTP/1.1 over kept connections, so that the server is what is measured.

aiohttp's client takes as much CPU for a request as the servers measured here take to answer it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import httptools


@dataclass(slots=True)
class Load:
    """What a load met: seconds in all, each answer's latency in seconds, and the statuses."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Return the latency that this share of the answers did not exceed, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def demand(self, status: int) -> "Load":
        """Raise unless every answer had this status: a refusal is quick, and would flatter the figure."""
        if set(self.statuses) != {status}:
            raise RuntimeError(f"not every answer was {status}: {dict(self.statuses)}")
        return self


def request(
    method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """Write a request."""
    fields = {"host": "127.0.0.1", **(headers or {})}
    if body:
        fields |= {"content-type": "application/json", "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def press(
    port: int, requests: Iterator[bytes], *, connections: int, keep: bool = False
) -> Load:
    """Send every request; each connection sends its next one as soon as it has an answer."""
    load = Load()
    lines = [await _Line.open(port, load, keep=keep) for _ in range(connections)]

    async def work(line: _Line) -> None:
        for each in requests:
            await line.ask(each)

    started = time.perf_counter()
    try:
        await asyncio.gather(*(work(line) for line in lines))
        load.seconds = time.perf_counter() - started
    finally:
        for line in lines:
            line.close()
    return load


async def pace(
    port: int, requests: Iterator[bytes], *, per_second: float, connections: int
) -> Load:
    """Send requests at a steady rate; a latency counts from the moment when its request was due.

    So a server that stalls is charged for all who would have come meanwhile (coordinated omission).
    """
    load = Load()
    idle = [await _Line.open(port, load, keep=False) for _ in range(connections)]
    free: asyncio.Queue[_Line] = asyncio.Queue()
    for line in idle:
        free.put_nowait(line)
    started = time.perf_counter()

    async def send(each: bytes, due: float) -> None:
        line = await free.get()
        await line.ask(each, due=due)
        free.put_nowait(line)

    async with asyncio.TaskGroup() as group:
        for n, each in enumerate(requests):
            due = started + n / per_second
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            group.create_task(send(each, due))
    load.seconds = time.perf_counter() - started
    for line in idle:
        line.close()
    return load


def repeated(make: Callable[[int], bytes], count: int) -> Iterator[bytes]:
    """Return `count` requests, each made from its number."""
    return (make(n) for n in range(count))


class _Line(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, load: Load, *, keep: bool) -> None:
        self._load, self._keep = load, keep
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    @classmethod
    async def open(cls, port: int, load: Load, *, keep: bool) -> "_Line":
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: cls(load, keep=keep), "127.0.0.1", port)
        return line

    async def ask(self, written: bytes, due: float | None = None) -> None:
        if self._transport is None:
            raise RuntimeError("the server has closed the connection")
        self._answered = asyncio.get_running_loop().create_future()
        started = time.perf_counter() if due is None else due
        self._transport.write(written)
        await self._answered
        self._load.latencies.append(time.perf_counter() - started)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not `isinstance`: uvloop's transports only look like asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("closed without an answer"))

    def on_body(self, part: bytes) -> None:
        if self._keep:
            self._body.append(part)

    def on_message_complete(self) -> None:
        self._load.statuses[self._parser.get_status_code()] += 1
        if self._keep:
            self._load.bodies.append(b"".join(self._body))
            self._body.clear()
        self._parser = httptools.HttpResponseParser(self)
        if self._answered is not None and not self._answered.done():  # nobody waits any more
            self._answered.set_result(None)
