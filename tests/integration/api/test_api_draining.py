"""What a client has sent before it could know that an api process leaves is answered."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from api.app import create_app
from api.edge.connections.serving import Server
from tests.conftest import make_settings

ASKED = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class Leaving:
    """An api process's server, in this process, so that a test knows what it has not seen yet."""

    def __init__(self) -> None:
        settings = make_settings()
        self.server = Server(create_app(settings), settings)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.serving = asyncio.create_task(self.server.serve(sockets=[self.listener]))

    def dial(self) -> socket.socket:
        """Connect, without letting the loop see it."""
        return socket.create_connection(self.address, timeout=20)

    def leave(self) -> "asyncio.Future[None]":
        """Begin to end at the next step of the loop, before it looks at any socket."""
        return asyncio.ensure_future(self.server.shutdown([self.listener]))


@pytest.fixture
async def leaving() -> AsyncIterator[Leaving]:
    made = Leaving()
    while not made.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield made
    made.server.should_exit = True
    with suppress(asyncio.CancelledError):
        made.serving.cancel()
        await made.serving


async def answered(client: socket.socket) -> bytes:
    """Read to the end of what is answered, and of the connection."""

    def read() -> bytes:
        with client, suppress(ConnectionResetError):
            return b"".join(iter(lambda: client.recv(65_536), b""))
        return b"it was reset"

    return await asyncio.to_thread(read)


def is_the_last(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer.lower()


async def test_who_has_connected_and_was_not_taken_yet_is_answered(leaving: Leaving) -> None:
    clients = [leaving.dial() for _ in range(8)]
    for client in clients:
        client.sendall(ASKED)
    left = leaving.leave()
    assert all([is_the_last(await answered(client)) for client in clients])
    await left


async def test_who_has_connected_may_still_ask(leaving: Leaving) -> None:
    client = leaving.dial()
    left = leaving.leave()
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionRefusedError):
        leaving.dial()
    client.sendall(ASKED)
    assert is_the_last(await answered(client))
    await left


async def test_what_was_sent_on_an_idle_connection_is_answered(leaving: Leaving) -> None:
    client, read = leaving.dial(), bytearray()
    client.sendall(ASKED)
    while not read.endswith(b"}"):
        read += await asyncio.to_thread(client.recv, 65_536)
    assert read.startswith(b"HTTP/1.1 200 ")
    client.sendall(ASKED)
    left = leaving.leave()
    assert is_the_last(await answered(client))
    await left


async def test_half_a_head_is_waited_for(leaving: Leaving) -> None:
    client = leaving.dial()
    client.sendall(ASKED[:-2])
    left = leaving.leave()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(left), 1.5)
    client.sendall(ASKED[-2:])
    assert is_the_last(await answered(client))
    await left
