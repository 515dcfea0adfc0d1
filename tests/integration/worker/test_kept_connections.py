"""Connections that are kept for an owner: used again as long as they lead to the same checked place."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509

from models.errors import EgressRefused
from models.platform.addresses import Address
from tests.fixtures.certificates import Authority
from worker.egress import connection
from worker.egress.connection import Unreachable
from worker.egress.guarded import Answer, Egress, Lookup

OUTSIDE, ELSEWHERE, INSIDE = "127.0.0.2", "127.0.0.3", "127.0.0.1"
OPENED = (ip_network(OUTSIDE), ip_network(ELSEWHERE))
SOON = timedelta(seconds=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: yes\r\n\r\nok"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"

Respond = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


@dataclass
class Server:
    """A server that keeps connections; `bodies` are what came, with the number of its connection."""

    port: int = 0
    connections: int = 0
    bodies: list[tuple[int, str]] = field(default_factory=list)
    open: set[asyncio.StreamWriter] = field(default_factory=set)


def say(*answers: bytes) -> Respond:
    """Answer with each of these in turn, on all connections together, and with the last for ever."""
    left = list(answers)

    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return respond


def reset(writer: asyncio.StreamWriter) -> None:
    place: socket.socket = writer.get_extra_info("socket")
    place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def serving(
    respond: Respond, host: str = OUTSIDE, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        mine = server.connections
        server.open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].split()[0])
                server.bodies.append((mine, (await reader.readexactly(length)).decode()))
                await respond(writer, mine)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            server.open.discard(writer)
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(accept, host, port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Names:
    """A name server that gives each look-up its next answers, and the last ones for ever."""

    answers: list[list[str]]
    asked: int = 0

    def lookup(self, host: str, port: int) -> Sequence[Address]:
        del host, port
        self.asked += 1
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(answer) for answer in now]


@asynccontextmanager
async def opened(lookup: Lookup | None = None) -> AsyncIterator[Egress]:
    async with Egress(OPENED, frozenset({443}), lookup=lookup) as egress:
        yield egress


async def post(
    egress: Egress, url: str, owner: object = "me", body: str = "{}", deadline: timedelta = SOON
) -> Answer:
    return await egress.post(
        url, content=body.encode(), headers={}, deadline=deadline, read_max=65536, owner=owner
    )


def at(server: Server, path: str = "/") -> str:
    return f"http://{OUTSIDE}:{server.port}{path}"


# When it is used again.


@pytest.mark.parametrize("answer", [OK, NOTHING, CHUNKED], ids=["length", "nothing", "chunks"])
async def test_one_connection_carries_one_answer_after_the_other(answer: bytes) -> None:
    async with serving(say(answer)) as server, opened() as egress:
        for n in range(5):
            got = await post(egress, at(server, f"/{n}"), body=str(n))
            assert got.status in {200, 204}
    assert server.bodies == [(1, str(n)) for n in range(5)]


async def test_headers_and_status_are_of_the_answer_that_they_came_with() -> None:
    answers = (OK, b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", NOTHING)
    async with serving(say(*answers)) as server, opened() as egress:
        met = [await post(egress, at(server)) for _ in range(3)]
    assert server.connections == 1
    assert [each.status for each in met] == [200, 503, 204]
    assert [sorted(each.headers) for each in met] == [
        ["content-length", "x-seen"], ["content-length", "retry-after"], [],
    ]  # fmt: skip


async def test_without_an_owner_none_is_used_again() -> None:
    async with serving(say(OK)) as server, opened() as egress:
        for _ in range(3):
            await post(egress, at(server), owner=None)
    assert server.connections == 3


async def test_nobody_uses_anothers() -> None:
    async with serving(say(OK)) as server, opened() as egress:
        for owner in ("me", "you", "me", "you"):
            await post(egress, at(server), owner=owner, body=owner)
    assert server.bodies == [(1, "me"), (2, "you"), (1, "me"), (2, "you")]


async def test_after_a_hundred_answers_there_is_a_new_one() -> None:
    async with serving(say(NOTHING)) as server, opened() as egress:
        for _ in range(connection.ANSWERS_MAX + 1):
            await post(egress, at(server))
    assert server.connections == 2
    assert connection.ANSWERS_MAX == 100


async def test_those_that_wait_for_use_are_few() -> None:
    everybody = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        if len(server.bodies) == 30:
            everybody.set()
        await everybody.wait()
        writer.write(OK)

    async with serving(respond) as server, opened() as egress:
        await asyncio.gather(*(post(egress, at(server)) for _ in range(30)))
        assert server.connections == 30
        async with asyncio.timeout(5):
            while len(server.open) > 8:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        assert len(server.open) == 8


# When it is closed.


async def test_an_owner_that_goes_elsewhere_leaves_no_connection() -> None:
    async with serving(say(OK)) as first, serving(say(OK)) as second, opened() as egress:
        await post(egress, at(first))
        await post(egress, at(second))
        async with asyncio.timeout(5):
            while first.open:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        await post(egress, at(first))
    assert (first.connections, second.connections) == (2, 1)


async def test_an_owner_that_goes_elsewhere_lets_what_is_under_way_end() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        arrived.set()
        await go.wait()
        writer.write(OK)

    async with serving(respond) as slow, serving(say(NOTHING)) as second, opened() as egress:
        under_way = asyncio.create_task(post(egress, at(slow)))
        await arrived.wait()
        assert (await post(egress, at(second))).status == 204
        go.set()
        assert (await under_way).status == 200


async def test_a_name_that_changes_its_answer_is_refused_though_a_connection_is_kept() -> None:
    names = Names([[OUTSIDE], [OUTSIDE], [INSIDE]])
    async with (
        serving(say(OK)) as server,
        serving(say(OK), INSIDE, server.port) as canary,
        opened(names.lookup) as egress,
    ):
        url = f"http://rebind.example:{server.port}/"
        for _ in range(2):
            assert (await post(egress, url)).status == 200
        with pytest.raises(EgressRefused):
            await post(egress, url)
    assert names.asked == 3, "each try looks"
    assert (server.connections, len(server.bodies), canary.connections) == (1, 2, 0)


async def test_a_name_that_moves_is_reached_where_it_is_now() -> None:
    names = Names([[OUTSIDE], [ELSEWHERE], [OUTSIDE]])
    async with (
        serving(say(OK)) as first,
        serving(say(OK), ELSEWHERE, first.port) as second,
        opened(names.lookup) as egress,
    ):
        for _ in range(3):
            await post(egress, f"http://moving.example:{first.port}/")
    assert (first.connections, second.connections) == (2, 1)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\nmore",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + b"HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n",
        NOTHING + b"HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n",
        CHUNKED + b"HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n",
        OK + b"garbage",
    ],
    ids=repr,
)
async def test_what_leaves_a_doubt_where_it_ends_is_not_used_again(said: bytes) -> None:
    async with serving(say(said, OK)) as server, opened() as egress:
        met = [(await post(egress, at(server), deadline=timedelta(seconds=20))).status]
        met += [(await post(egress, at(server))).status for _ in range(2)]
    assert met[0] in {200, 204, 101}
    assert met[1:] == [200, 200], "no answer was taken for another's"
    assert [n for n, _ in server.bodies] == [1, 2, 2]


@pytest.mark.parametrize("late", [b"HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n", b"x"])
async def test_what_nobody_has_asked_for_ends_the_connection(late: bytes) -> None:
    async with serving(say(OK)) as server, opened() as egress:
        await post(egress, at(server))
        (writer,) = server.open
        writer.write(late)
        await writer.drain()
        async with asyncio.timeout(5):
            while server.open:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert (await post(egress, at(server))).status == 200
    assert server.connections == 2


async def test_a_body_that_is_not_read_to_its_end_ends_the_connection() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"a" * 70_000
    async with serving(say(long, OK)) as server, opened() as egress:
        for _ in range(2):
            assert (await post(egress, at(server))).status == 200
    assert server.connections == 2


# What goes wrong on one that is used again.


@pytest.mark.parametrize("way", ["reset", "end"])
async def test_one_that_was_closed_meanwhile_is_replaced_within_the_same_try(way: str) -> None:
    async def respond(writer: asyncio.StreamWriter, number: int) -> None:
        if len([n for n, _ in server.bodies if n == number]) == 1:
            writer.write(OK)
        elif way == "reset":
            reset(writer)
        else:
            writer.close()

    async with serving(respond) as server, opened() as egress:
        for n in range(3):
            assert (await post(egress, at(server), body=str(n))).status == 200
    assert server.bodies == [(1, "0"), (1, "1"), (2, "1"), (3, "2")]


async def test_a_fresh_one_that_breaks_is_not_replaced() -> None:
    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        reset(writer)

    async with serving(respond) as server, opened() as egress:
        with pytest.raises(Unreachable, match="reset"):
            await post(egress, at(server))
    assert server.connections == 1


async def test_it_is_replaced_once() -> None:
    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        if len(server.bodies) == 1:
            writer.write(OK)
        else:
            reset(writer)

    async with serving(respond) as server, opened() as egress:
        await post(egress, at(server))
        with pytest.raises(Unreachable, match="reset"):
            await post(egress, at(server))
    assert [n for n, _ in server.bodies] == [1, 1, 2]


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 103 E\r\n"])
async def test_one_that_has_begun_to_answer_is_not_replaced(said: bytes) -> None:
    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(OK if len(server.bodies) == 1 else said)
        await writer.drain()
        if len(server.bodies) > 1:
            await asyncio.sleep(0.05)  # the other side reads it
            reset(writer)

    async with serving(respond) as server, opened() as egress:
        await post(egress, at(server))
        with pytest.raises(Unreachable, match="reset"):
            await post(egress, at(server))
    assert server.connections == 1


async def test_the_deadline_holds_on_one_that_is_used_again() -> None:
    async def drip(writer: asyncio.StreamWriter, _: int) -> None:
        if len(dripping.bodies) == 1:
            writer.write(OK)
            return
        while True:
            writer.write(b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(drip) as dripping, opened() as egress:
        await post(egress, at(dripping))
        with pytest.raises(Unreachable, match="timeout"):
            await post(egress, at(dripping), deadline=timedelta(seconds=0.3))
    assert dripping.connections == 1


@pytest.mark.parametrize(
    ("begin", "flood", "met"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "too_large"),
        (b"", b"\r\n" * 9999, "too_large"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 999, "200"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536, "200"),
    ],
)
async def test_the_bounds_hold_on_one_that_is_used_again(
    begin: bytes, flood: bytes, met: str
) -> None:
    async def respond(writer: asyncio.StreamWriter, _: int) -> None:
        if len(server.bodies) < 3:
            writer.write(OK)
            return
        writer.write(begin)
        for _ in range(1000):
            writer.write(flood)
            await writer.drain()

    async with serving(respond) as server, opened() as egress:
        for _ in range(2):
            await post(egress, at(server))
        try:
            found = str((await post(egress, at(server))).status)
        except Unreachable as failed:
            found = failed.reason
    assert found == met
    assert server.connections == 1


async def test_whoever_cancels_leaves_no_connection_in_the_middle_of_an_answer() -> None:
    arrived = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter, number: int) -> None:
        if (number, len(server.bodies)) == (1, 2):
            writer.write(OK[:-1])
            arrived.set()
        else:
            writer.write(OK)

    async with serving(respond) as server, opened() as egress:
        await post(egress, at(server))
        task = asyncio.create_task(post(egress, at(server)))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await post(egress, at(server))).status == 200
    assert server.connections == 2


# TLS.


async def test_tls_is_verified_for_each_name_and_its_connection_is_kept(tmp_path: Path) -> None:
    authority, names = Authority.made(tmp_path), Names([[OUTSIDE]])
    tls = authority.server(x509.DNSName("hooks.example"))
    async with (
        serving(say(OK), tls=tls) as server,
        Egress(OPENED, frozenset({443}), authority.client(), lookup=names.lookup) as egress,
    ):
        for _ in range(3):
            assert (await post(egress, f"https://hooks.example:{server.port}/")).status == 200
        with pytest.raises(Unreachable, match="tls"):
            await post(egress, f"https://other.example:{server.port}/")
        with pytest.raises(Unreachable, match="tls"):
            await post(egress, f"https://other.example:{server.port}/", owner="you")
    assert [n for n, _ in server.bodies] == [1, 1, 1]
