"""A proxy that cuts answers off in the middle, as a load balancer that is restarted does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

# How an answer is cut in the middle: so that its server sees it, or behind its back, when the proxy has all
# of it. Of an early one not even the head is passed on.
Cut = Literal["", "seen", "unseen", "seen_early", "unseen_early"]

_LITTLE = 4096  # bytes that the kernel takes in for us: the rest is still the server's


@dataclass
class Cutting:
    """The proxy; `url` is the server as it is seen through it, and `times` how often it has cut."""

    url: str
    port: int
    cut: Callable[[bytes], Cut]  # of a request's head
    times: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, and its answer back: all of it, or the first half of its body."""
        far, far_writer = await asyncio.open_connection(sock=await self._connected(), limit=_LITTLE)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            cut = self.cut(head)
            far_writer.write(_alone(head) + await reader.readexactly(_length(head)))
            answer = await far.readuntil(b"\r\n\r\n")
            length = _length(answer)
            passed = answer + await far.readexactly(length // 2 if cut else length)
            writer.write(b"" if cut.endswith("_early") else passed)
            self.times += bool(cut)
            if cut.startswith("unseen"):
                await far.read()
        finally:
            far_writer.close()
            with suppress(ConnectionError):
                await writer.drain()
            writer.close()

    async def _connected(self) -> socket.socket:
        far = socket.socket()
        far.settimeout(0)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE)
        await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", self.port))
        return far


@asynccontextmanager
async def before(url: str, cut: Callable[[bytes], Cut]) -> AsyncIterator[Cutting]:
    """Stand before a server on this machine."""
    standing = Cutting("", int(url.rpartition(":")[2].rstrip("/")), cut)
    server = await asyncio.start_server(standing.serve, "127.0.0.1", 0, backlog=256)
    standing.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield standing


def header(head: bytes, name: str) -> str:
    """Read a header of a request or an answer; empty when it has none."""
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next((value.strip().decode() for key, _, value in lines
                 if key.lower() == name.encode()), "")  # fmt: skip


def _alone(head: bytes) -> bytes:
    """Ask for an end of the connection behind the answer: each request has one of its own."""
    line, _, rest = head.partition(b"\r\n")
    kept = [each for each in rest.split(b"\r\n") if not each.lower().startswith(b"connection:")]
    return b"\r\n".join([line, b"connection: close", *kept])


def _length(head: bytes) -> int:
    return int(header(head, "content-length") or 0)
