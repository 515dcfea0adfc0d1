"""The guard against real sockets.

127.0.0.2 plays the public internet: the tests open it with an exception. The canary on 127.0.0.1 is
what must never be reached, on the same port, so that nothing but the address can be the reason.
"""

import asyncio
import gzip
import socket
import ssl
import struct
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientError
from cryptography import x509

from models.errors import EgressRefused
from models.platform.addresses import Address
from tests.fixtures.certificates import Authority
from tests.unit.platform.test_addresses import (
    EDGES_V4,
    EDGES_V6,
    FORBIDDEN_V4,
    FORBIDDEN_V6,
    GATEWAYS,
    SPELLINGS,
)
from worker.egress.connection import Unreachable, open_session, pin
from worker.egress.guarded import Answer, Egress, Lookup
from worker.egress.wire import Meter

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
OPENED = (ip_network(OUTSIDE),)
SOON = timedelta(seconds=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: yes\r\n\r\nok"

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Listener:
    port: int = 0
    connections: int = 0
    written: int = 0  # bytes that the other side has taken, or the system for it
    requests: list[str] = field(default_factory=list)


def say(*pieces: bytes) -> Respond:
    async def respond(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return respond


@asynccontextmanager
async def listen(
    respond: Respond, host: str = OUTSIDE, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listener]:
    listener = Listener()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            _, _, length = head.lower().partition("content-length: ")
            body = await reader.readexactly(int(length.split()[0])) if length else b""
            listener.requests.append(head + body.decode())
            await respond(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host, port, ssl=tls)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture
async def canary() -> AsyncIterator[Listener]:
    """Listen inside, where no test may come."""
    async with listen(say(OK), INSIDE) as listener:
        yield listener
        assert listener.connections == 0


@dataclass
class Names:
    """A name server that gives each look-up its next answers, and the last ones for ever."""

    answers: list[list[str]]
    asked: list[str] = field(default_factory=list)

    def lookup(self, host: str, port: int) -> Sequence[Address]:
        del port
        self.asked.append(host)
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(answer) for answer in now]


@asynccontextmanager
async def opened(
    lookup: Lookup | None = None, ports: frozenset[int] = frozenset({443})
) -> AsyncIterator[Egress]:
    async with Egress(OPENED, ports, lookup=lookup) as egress:
        yield egress


async def post(egress: Egress, url: str, deadline: timedelta = SOON) -> Answer:
    return await egress.post(
        url, content=b"{}", headers={"webhook-id": "evt_1"}, deadline=deadline, read_max=65536
    )


async def fetch(
    egress: Egress,
    url: str,
    *,
    max_bytes: int = 1 << 20,
    deadline: timedelta = SOON,
    into: bytearray | None = None,
) -> bytes:
    got = bytearray() if into is None else into
    async with egress.download(url, deadline=deadline, max_bytes=max_bytes) as download:
        assert download.status == 200
        async for chunk in download.chunks:
            got += chunk
    return bytes(got)


# What is sent, and what comes back.


async def test_a_post_arrives_as_it_was_given_and_its_answer_comes_back() -> None:
    async with listen(say(OK)) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/a%2Fb//./c?x=%20&y=(1)"
        answer = await post(egress, url)
    assert answer.status == 200
    assert answer.headers["x-seen"] == "yes"
    assert timedelta(0) < answer.elapsed < SOON
    head, _, body = server.requests[0].partition("\r\n\r\n")
    assert head.startswith("POST /a%2Fb//./c?x=%20&y=(1) HTTP/1.1\r\n")
    assert f"host: {OUTSIDE}:{server.port}\r\n" in head.lower()
    assert "accept-encoding: identity" in head.lower()
    assert "webhook-id: evt_1" in head
    assert body == "{}"


async def test_a_download_gives_the_bytes_and_the_status() -> None:
    body = bytes(range(256)) * 1000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with listen(say(head, body)) as server, opened() as egress:
        assert await fetch(egress, f"http://{OUTSIDE}:{server.port}/") == body


async def test_a_download_that_failed_shows_its_status() -> None:
    gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    url = "http://{}:{}/"
    async with listen(say(gone)) as server, opened() as egress:
        place = url.format(OUTSIDE, server.port)
        async with egress.download(place, deadline=SOON, max_bytes=10) as download:
            assert download.status == 404


async def test_no_connection_is_used_twice() -> None:
    async with listen(say(OK)) as server, opened() as egress:
        for _ in range(3):
            await post(egress, f"http://{OUTSIDE}:{server.port}/")
    assert server.connections == 3


async def test_two_hundred_posts_run_at_once() -> None:
    everybody = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 200:
            everybody.set()
        await everybody.wait()
        writer.write(OK)

    async with listen(respond) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        answers = await asyncio.gather(
            *(post(egress, url, timedelta(seconds=30)) for _ in range(200))
        )
    assert {answer.status for answer in answers} == {200}


async def test_the_system_is_asked_when_no_other_resolver_is_given() -> None:
    loopback = (ip_network("127.0.0.0/8"), ip_network("::1"))
    async with (
        listen(say(OK), INSIDE) as server,
        Egress(loopback, frozenset({443})) as egress,
    ):
        answer = await post(egress, f"http://localhost:{server.port}/")
    assert answer.status == 200


# Addresses.


@pytest.mark.parametrize("spelling", SPELLINGS | GATEWAYS)
async def test_no_spelling_of_a_forbidden_address_is_reached(
    spelling: str, canary: Listener
) -> None:
    write = (SPELLINGS | GATEWAYS)[spelling]
    async with opened(ports=frozenset({443, canary.port})) as egress:
        for address in (*map(IPv4Address, FORBIDDEN_V4), *EDGES_V4):
            url = f"https://{write(address)}:{canary.port}/"
            with pytest.raises(EgressRefused):
                await post(egress, url)
            with pytest.raises(EgressRefused):
                await fetch(egress, url)


async def test_no_forbidden_ipv6_address_is_reached(canary: Listener) -> None:
    async with opened(ports=frozenset({443, canary.port})) as egress:
        for address in (*map(IPv6Address, FORBIDDEN_V6), *EDGES_V6):
            for written in (str(address), address.exploded):
                with pytest.raises(EgressRefused):
                    await post(egress, f"https://[{written}]:{canary.port}/")


async def test_a_name_for_a_forbidden_address_is_refused(canary: Listener) -> None:
    forbidden = [*FORBIDDEN_V4, *FORBIDDEN_V6, *map(str, EDGES_V4), *map(str, EDGES_V6)]
    names = Names([[text] for text in forbidden])
    async with opened(names.lookup, frozenset({canary.port})) as egress:
        for text in forbidden:
            with pytest.raises(EgressRefused):
                await post(egress, f"https://inside.example:{canary.port}/{text}")
    assert len(names.asked) == len(forbidden)


@pytest.mark.parametrize("answers", [["8.8.8.8", INSIDE], [INSIDE, OUTSIDE], ["2600::1", "::1"]])
async def test_one_forbidden_answer_refuses_them_all(answers: list[str], canary: Listener) -> None:
    async with opened(Names([answers]).lookup, frozenset({canary.port})) as egress:
        with pytest.raises(EgressRefused):
            await post(egress, f"https://mixed.example:{canary.port}/")


async def test_a_name_that_changes_its_answer_is_refused_and_looked_up_once_each(
    canary: Listener,
) -> None:
    names = Names([[OUTSIDE], [INSIDE]])
    async with listen(say(OK), OUTSIDE, canary.port) as server, opened(names.lookup) as egress:
        url = f"http://rebind.example:{server.port}/"
        assert (await post(egress, url)).status == 200
        assert len(names.asked) == 1
        with pytest.raises(EgressRefused):
            await post(egress, url)
    assert len(names.asked) == 2
    assert server.connections == 1
    assert f"host: rebind.example:{server.port}" in server.requests[0].lower()


async def test_a_broken_connection_does_not_lead_to_another_look_up(canary: Listener) -> None:
    names = Names([[OUTSIDE], [INSIDE]])
    async with listen(say(), OUTSIDE, canary.port) as server, opened(names.lookup) as egress:
        with pytest.raises(Unreachable):
            await fetch(egress, f"http://rebind.example:{server.port}/")
    assert len(names.asked) == 1


async def test_plain_http_to_a_name_needs_every_answer_to_be_exempt() -> None:
    async with opened(Names([["8.8.8.8"]]).lookup) as egress:
        with pytest.raises(EgressRefused, match="https"):
            await post(egress, "http://public.example/")
        with pytest.raises(EgressRefused, match="8080"):
            await post(egress, "https://public.example:8080/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.2/",
        "file:///etc/passwd",
        "https://user:pass@127.0.0.2/",
        "https://127.0.0.2@127.0.0.1/",
        "https://[fe80::1%25lo]/",
        "https://localhost/",
        "https://127.0.0.2\\@127.0.0.1/",
    ],
)
async def test_the_form_of_a_url_is_checked_again(url: str) -> None:
    async with opened() as egress:
        with pytest.raises(EgressRefused):
            await post(egress, url)
        with pytest.raises(EgressRefused):
            await fetch(egress, url)


async def test_the_connection_goes_to_the_very_address_that_was_checked() -> None:
    names = Names([["127.0.0.3"], [OUTSIDE]])
    both = (*OPENED, ip_network("127.0.0.3"))
    async with (
        listen(say(OK), "127.0.0.3") as third,
        listen(say(OK), OUTSIDE, third.port) as second,
        Egress(both, frozenset({443}), lookup=names.lookup) as egress,
    ):
        await post(egress, f"http://moving.example:{third.port}/")
        assert (third.connections, second.connections) == (1, 0)
        await post(egress, f"http://moving.example:{third.port}/")
        assert (third.connections, second.connections) == (1, 1)
    assert len(names.asked) == 2


def test_a_socket_is_made_for_a_checked_address_only() -> None:
    make = pin([ip_address(OUTSIDE)])
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    make((*kind, (OUTSIDE, 443))).close()
    for inside in (*FORBIDDEN_V4, *FORBIDDEN_V6):
        with pytest.raises(PermissionError):
            make((*kind, (inside, 443)))


async def test_a_connection_cannot_go_to_a_literal_that_was_not_checked(canary: Listener) -> None:
    async with open_session([ip_address(OUTSIDE)], Meter(1 << 20, 1 << 20)) as session:
        with pytest.raises(ClientConnectorError):
            await session.get(f"http://{INSIDE}:{canary.port}/")


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_leads_the_connector_past_its_pins(
    spelling: str, canary: Listener
) -> None:
    url = f"http://{SPELLINGS[spelling](IPv4Address(INSIDE))}:{canary.port}/"
    async with open_session([ip_address(OUTSIDE)], Meter(1 << 20, 1 << 20)) as session:
        with suppress(ClientError, ValueError):  # a name, for some: it leads outside
            await session.get(url)


async def test_names_that_hang_hold_up_nobody_else() -> None:
    ticks, enough = 0, threading.Event()

    def lookup(host: str, port: int) -> Sequence[Address]:
        assert enough.wait(10), "the loop stood still"
        raise OSError(f"{host}:{port}")

    async def tick() -> None:
        nonlocal ticks
        while ticks < 20:
            await asyncio.sleep(0.005)
            ticks += 1
        enough.set()

    async with opened(lookup) as egress:
        heart = asyncio.create_task(tick())
        posts = (post(egress, f"https://{n}.example/") for n in range(20))
        met = await asyncio.gather(*posts, return_exceptions=True)
        await heart
    assert [str(each) for each in met] == ["dns"] * 20


# Redirects and proxies.


def redirect(code: int, location: str) -> bytes:
    return f"HTTP/1.1 {code} R\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_inside(code: int, canary: Listener) -> None:
    away = redirect(code, f"https://{INSIDE}:{canary.port}/")
    async with listen(say(away)) as server, opened(ports=frozenset({canary.port})) as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        assert (await post(egress, url)).status == code
        assert server.connections == 1
        with pytest.raises(EgressRefused):
            await fetch(egress, url)


async def test_a_post_does_not_follow_even_to_where_it_came_from() -> None:
    async with listen(say(redirect(307, "/again"))) as server, opened() as egress:
        assert (await post(egress, f"http://{OUTSIDE}:{server.port}/")).status == 307
    assert server.connections == 1


@pytest.mark.parametrize(("hops", "arrives"), [(0, True), (3, True), (4, False)])
async def test_a_download_follows_three_redirects(hops: int, *, arrives: bool) -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        n = len(server.requests)
        writer.write(redirect(302, f"../step/{n}") if n <= hops else OK)

    async with listen(respond) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/step/0"
        if arrives:
            assert await fetch(egress, url) == b"ok"
        else:
            with pytest.raises(Unreachable, match="redirect"):
                await fetch(egress, url)
    assert server.connections == min(hops, 3) + 1


async def test_each_hop_of_a_download_is_looked_up_and_checked(canary: Listener) -> None:
    names = Names([[OUTSIDE], [INSIDE]])
    away = redirect(302, f"http://two.example:{canary.port}/")
    async with listen(say(away)) as server, opened(names.lookup) as egress:
        with pytest.raises(EgressRefused):
            await fetch(egress, f"http://one.example:{server.port}/")
    assert names.asked == ["one.example", "two.example"]


async def test_the_environment_cannot_name_a_proxy(
    canary: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://{INSIDE}:{canary.port}")
        monkeypatch.setenv(name.upper(), f"http://{INSIDE}:{canary.port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    async with listen(say(OK)) as server, opened() as egress:
        assert (await post(egress, f"http://{OUTSIDE}:{server.port}/")).status == 200
        with pytest.raises(Unreachable):  # no TLS there, but that is where it went
            await post(egress, f"https://{OUTSIDE}:{server.port}/", timedelta(seconds=0.2))
        assert server.connections == 2


# Bodies without an end, and clocks.


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def pour(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        await writer.drain()


async def hang(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.Event().wait()


async def drip_status(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    await hang(writer)


@pytest.mark.parametrize("respond", [drip, drip_headers, drip_status, hang])
async def test_the_deadline_ends_what_would_never_end(respond: Respond) -> None:
    soon = timedelta(seconds=0.3)
    clock = asyncio.get_running_loop().time
    async with listen(respond) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        started = clock()
        if respond in {drip, drip_headers}:  # the first line has come, and that is the answer
            assert (await post(egress, url, soon)).status == 200
        else:
            with pytest.raises(Unreachable, match="timeout"):
                await post(egress, url, soon)
        with pytest.raises(Unreachable, match="timeout"):
            await fetch(egress, url, deadline=soon)
        assert 0.6 <= clock() - started < 3


async def test_a_name_server_that_hangs_meets_the_deadline() -> None:
    late = threading.Event()

    def lookup(host: str, port: int) -> Sequence[Address]:
        late.wait(10)
        raise OSError(f"{host}:{port}")

    async with opened(lookup) as egress:
        with pytest.raises(Unreachable, match="timeout"):
            await post(egress, "https://slow.example/", timedelta(seconds=0.2))
        late.set()


async def test_an_endless_body_ends_a_download_at_its_cap() -> None:
    got = bytearray()
    async with listen(pour) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        with pytest.raises(Unreachable, match="too_large"):
            await fetch(egress, url, max_bytes=100_000, into=got)
    assert 0 < len(got) <= 100_000


async def test_a_body_that_announces_too_much_is_not_even_begun() -> None:
    async with listen(drip) as server, opened() as egress:
        with pytest.raises(Unreachable, match="too_large"):
            await fetch(egress, f"http://{OUTSIDE}:{server.port}/", max_bytes=99_999)


async def test_an_endless_answer_to_a_post_is_cut_off_and_its_status_counts() -> None:
    async with listen(pour) as server, opened() as egress:
        answer = await post(egress, f"http://{OUTSIDE}:{server.port}/")
    assert answer.status == 200


# What stands in a head, or behind it, does not undo its first line.
HEADS = {
    "a header of 8,200 bytes": b"X: " + b"a" * 8_200,
    "a header of 64 kB": b"X: " + b"a" * 65_536,
    "a name of 9,000 bytes": b"x" * 9_000 + b": a",
    "129 headers": b"\r\n".join(b"X-%d: a" % n for n in range(129)),
    "5,000 headers": b"\r\n".join(b"X-%d: a" % n for n in range(5_000)),
    "a folded header": b"X: a\r\n b\r\n\tc",
    "a folded line after nothing": b"no header\r\n b",
    "bytes that are not ASCII": b"X: caf\xe9\r\nX\xff: a",
    "controls": b"X: a\x00b\x01\x7f",
    "no colon": b"no header at all",
    "no name": b": a",
    "a space before the colon": b"X : a",
    "the same twice": b"Server: a\r\nServer: a\r\nETag: 1\r\nETag: 2",
    "an upgrade": b"Connection: upgrade\r\nUpgrade: h2c",
    "an old websocket": b"Sec-WebSocket-Key1: x",
    "a cookie": b"Set-Cookie: =;;;\x00",
}
FINE = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("lines", HEADS.values(), ids=HEADS)
async def test_no_head_costs_an_answer_its_status_its_headers_or_its_body(lines: bytes) -> None:
    head = FINE + lines + b"\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\n"
    got = bytearray()
    async with listen(say(head, b"hello and more")) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        answer = await post(egress, url)
        await fetch(egress, url, into=got)
    assert (answer.status, answer.headers["retry-after"]) == (200, "7")
    assert bytes(got) == b"hello"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        FINE + b"Content-Length: 10\r\n\r\nhalf",
        FINE + b"Content-Length: 2\r\n\r\nmore than two",
        FINE + b"Content-Length: no\r\n\r\nhello",
        FINE + b"Content-Length: -1\r\n\r\nhello",
        FINE + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        FINE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        FINE + b"Transfer-Encoding: chunked\r\n\r\nno chunk",
        FINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        FINE + b"Transfer-Encoding: chunked\r\n\r\n0\r\nodd trailer\r\n\r\n",
        FINE + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        FINE + b"Content-Encoding: nonsense\r\n\r\nhello",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX-More: ",
        b"HTTP/1.1 200\n",
        b"HTTP/1.1 103 E\r\n\r\n" + FINE + b"X: a\r\n",
        b"HTTP/1.1  200  caf\xe9\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\nhello",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("pieces", [1, 3], ids=["at once", "in pieces"])
async def test_the_status_line_decides_whatever_follows_it(said: bytes, pieces: int) -> None:
    third = -(-len(said) // pieces)
    parts = [said[at : at + third] for at in range(0, len(said), third)]
    async with listen(say(*parts)) as server, opened() as egress:
        answer = await post(egress, f"http://{OUTSIDE}:{server.port}/")
    assert answer.status in {200, 204}


async def test_nobody_waits_for_a_body_that_is_not_sent() -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(FINE + b"Content-Length: 100\r\n\r\nhalf")
        await asyncio.Event().wait()

    async with listen(respond) as server, opened() as egress:
        answer = await post(egress, f"http://{OUTSIDE}:{server.port}/", timedelta(seconds=60))
    assert (answer.status, answer.elapsed < timedelta(seconds=30)) == (200, True)


@pytest.mark.parametrize(
    "location",
    [b" /image b.png ", b"/image b.png", b"/im\xe9age.png", b"\t/image.png", b"/a|b<c>.png"],
)
async def test_a_location_is_read_as_a_browser_would(location: bytes) -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        if server.connections == 1:
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n")
        else:
            writer.write(FINE + b"Content-Length: 5\r\n\r\nhello")

    got = bytearray()
    async with listen(respond) as server, opened() as egress:
        await fetch(egress, f"http://{OUTSIDE}:{server.port}/", into=got)
    assert bytes(got) == b"hello"


async def test_a_url_may_have_as_many_characters_as_signatures_need() -> None:
    async with listen(say(FINE + b"\r\nhello")) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        got = bytearray()
        await fetch(egress, f" {url}a b?" + "x" * 12_000, into=got)
        assert bytes(got) == b"hello"
        with pytest.raises(EgressRefused, match="16384 are the most"):
            await fetch(egress, url + "x" * 16_384)
        with pytest.raises(EgressRefused, match="2048 are the most"):
            await post(egress, url + "x" * 2_049)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What begins an answer, what is then repeated for ever, and what a post and a download make of it.
FLOODS = {
    "1xx": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "too_large", "too_large"),
    "early hints": (b"", b"HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n" * 999, "too_large", "too_large"),
    "empty lines": (b"", b"\r\n" * 9999, "too_large", "too_large"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 999, "200", "too_large"),
    "one header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 9999, "200", "too_large"),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536, "200", "too_large"),
    "chunks": (CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n", "200", "too_large"),
    "tiny chunks": (CHUNKED, b"1\r\na\r\n" * 9999, "200", "too_large"),
    "chunk extensions": (CHUNKED, b"1;" + b"a" * 9999 + b"\r\na\r\n", "200", "too_large"),
    "one extension": (CHUNKED + b"5;", b"a" * 65536, "200", "too_large"),
    "a chunk's length": (CHUNKED, b"0" * 65536, "200", "too_large"),
    "trailers": (CHUNKED + b"0\r\n", b"X-A: b\r\n" * 999, "200", r"reset|protocol|too_large"),
}


@pytest.mark.long
@pytest.mark.parametrize("flood", FLOODS)
async def test_no_flood_is_swallowed(flood: str) -> None:
    begin, repeated, posted, fetched = FLOODS[flood]

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(repeated)
            await writer.drain()
            server.written += len(repeated)

    async with listen(respond) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        tracemalloc.start()
        try:
            try:
                met = str((await post(egress, url)).status)
            except Unreachable as failed:
                met = failed.reason
            assert met == posted
            with pytest.raises(Unreachable, match=fetched):
                await fetch(egress, url, max_bytes=100_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (
        peak < 12_000_000
    )  # 16,000 lines of a head that breaks off, of some 500 bytes each when read
    assert server.written < 40_000_000  # most of it lies in the system's own buffers


async def test_a_body_without_a_length_is_not_taken_for_whole_where_it_was_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 8000) for n in range(9))
    async with listen(say(head + b"\r\n", b"a" * 80_000)) as server, opened() as egress:
        with pytest.raises(Unreachable, match="too_large"):
            await fetch(egress, f"http://{OUTSIDE}:{server.port}/", max_bytes=5_000)


@pytest.mark.parametrize("garbage", [b"fffffffffffffffff\r\n", b"2\r\nokay\r\n"])
async def test_garbage_for_chunks_is_a_breach_of_protocol(garbage: bytes) -> None:
    async with listen(say(CHUNKED, garbage)) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        assert (await post(egress, url)).status == 200
        with pytest.raises(Unreachable, match=r"protocol|reset"):
            await fetch(egress, url)


async def test_an_answer_that_changes_the_protocol_is_just_a_status() -> None:
    switch = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    async with listen(say(switch, b"a" * 100_000)) as server, opened() as egress:
        answer = await post(egress, f"http://{OUTSIDE}:{server.port}/")
    assert answer.status == 101


async def test_a_gzip_bomb_is_inflated_to_the_bound_at_most() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with listen(say(head.encode(), bomb)) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        tracemalloc.start()
        try:
            assert (await post(egress, url)).status == 200
            with pytest.raises(Unreachable, match="too_large"):
                await fetch(egress, url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 5_000_000


IMAGE = b"\xff\xd8\xff" + bytes(range(256)) * 1000


@pytest.mark.parametrize("coding", ["gzip", "br", "aws-chunked", "utf-8", "none, identity", ""])
@pytest.mark.parametrize("packed", [IMAGE, gzip.compress(IMAGE), zlib.compress(IMAGE)], ids=len)
@pytest.mark.parametrize("first", [1, 2, 5000])
async def test_a_download_is_inflated_if_it_is_compressed_whatever_is_said(
    coding: str, packed: bytes, first: int
) -> None:
    got = bytearray()
    head = FINE + f"Content-Encoding: {coding}\r\n\r\n".encode()
    async with listen(say(head, packed[:first], packed[first:])) as server, opened() as egress:
        await fetch(egress, f"http://{OUTSIDE}:{server.port}/", into=got, max_bytes=len(IMAGE))
        with pytest.raises(Unreachable, match="too_large"):
            await fetch(egress, f"http://{OUTSIDE}:{server.port}/", max_bytes=len(IMAGE) - 1)
    assert bytes(got) == IMAGE


async def test_a_download_whose_compression_is_broken_is_refused() -> None:
    async with listen(say(FINE, b"\r\n", b"\x1f\x8b" + b"\xff" * 50)) as server, opened() as egress:
        with pytest.raises(Unreachable, match="protocol"):
            await fetch(egress, f"http://{OUTSIDE}:{server.port}/")


async def test_a_readers_own_timeout_is_not_taken_for_ours() -> None:
    async with listen(say(OK)) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        with pytest.raises(TimeoutError, match="the store"):
            async with egress.download(url, deadline=SOON, max_bytes=10):
                raise TimeoutError("the store")


async def test_whoever_cancels_a_post_is_obeyed() -> None:
    arrived = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await hang(writer)

    async with listen(respond) as server, opened() as egress:
        task = asyncio.create_task(post(egress, f"http://{OUTSIDE}:{server.port}/"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# What else goes wrong.


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 20", "reset"),
        (b"HTTP/1.1 200", "reset"),
        (b"HTTP/1.1 103 E\r\nX: a\r\n", "reset"),
        (b"\x00\x01\x02 garbage\r\n\r\n", "protocol"),
        (b"HTTP/1.1 OK\r\n\r\n", "protocol"),
    ],
)
async def test_a_broken_answer_has_a_reason(said: bytes, reason: str) -> None:
    async with listen(say(said)) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        with pytest.raises(Unreachable, match=reason):
            await post(egress, url)
        with pytest.raises(Unreachable, match=reason):
            await fetch(egress, url)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 100 Continue\r\nLink",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_a_reset_before_the_head_has_come_is_a_reason(said: bytes) -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        reset(writer)

    async with listen(respond) as server, opened() as egress:
        url = f"http://{OUTSIDE}:{server.port}/"
        with pytest.raises(Unreachable, match="reset"):
            await post(egress, url)
        with pytest.raises(Unreachable, match="reset"):
            await fetch(egress, url)


@pytest.mark.parametrize("more", [b"", b"Retry-Af", b"Content-Length: 9\r\n\r\nhalf"])
async def test_a_reset_after_the_status_line_leaves_the_status(more: bytes) -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(FINE + more)
        await writer.drain()
        await asyncio.sleep(0.01)  # a round of this loop, in which the other side reads it
        reset(writer)

    async with listen(respond) as server, opened() as egress:
        assert (await post(egress, f"http://{OUTSIDE}:{server.port}/")).status == 200


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection with RST instead of FIN."""
    place: socket.socket = writer.get_extra_info("socket")
    place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_reset_before_anything_was_said_is_a_reason() -> None:
    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    server = await asyncio.start_server(accept, OUTSIDE)
    port = server.sockets[0].getsockname()[1]
    async with server, opened() as egress:
        for scheme in ("http", "https"):
            with pytest.raises(Unreachable, match=r"reset|connect|tls"):
                await post(egress, f"{scheme}://{OUTSIDE}:{port}/")


async def test_nobody_listening_is_a_reason() -> None:
    async with listen(say(OK)) as server:
        pass
    async with opened() as egress:
        with pytest.raises(Unreachable, match="connect"):
            await post(egress, f"http://{OUTSIDE}:{server.port}/")


async def test_a_name_without_an_address_is_a_reason() -> None:
    def lookup(host: str, port: int) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port}")

    for nothing in (lookup, Names([[]]).lookup):
        async with opened(nothing) as egress:
            with pytest.raises(Unreachable, match="dns"):
                await post(egress, "https://nowhere.example/")


async def test_a_server_that_speaks_no_tls_is_a_reason() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(answer, OUTSIDE)
    port = server.sockets[0].getsockname()[1]
    async with server, opened() as egress:
        with pytest.raises(Unreachable, match="tls"):
            await post(egress, f"https://{OUTSIDE}:{port}/")


# TLS.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path)


async def test_tls_is_made_for_the_name_though_the_connection_is_to_the_address(
    authority: Authority,
) -> None:
    seen: list[str | None] = []
    tls = authority.server(x509.DNSName("hooks.example"))
    tls.sni_callback = lambda _, name, __: seen.append(name)
    names = Names([[OUTSIDE]])
    async with (
        listen(say(OK), tls=tls) as server,
        Egress(OPENED, frozenset({443}), authority.client(), lookup=names.lookup) as egress,
    ):
        answer = await post(egress, f"https://hooks.example:{server.port}/")
    assert answer.status == 200
    assert seen == ["hooks.example"]
    assert f"host: hooks.example:{server.port}" in server.requests[0].lower()


async def test_a_certificate_of_the_address_does_not_speak_for_the_name(
    authority: Authority,
) -> None:
    tls = authority.server(x509.IPAddress(ip_address(OUTSIDE)), x509.DNSName("other.example"))
    names = Names([[OUTSIDE]])
    async with (
        listen(say(OK), tls=tls) as server,
        Egress(OPENED, frozenset({443}), authority.client(), lookup=names.lookup) as egress,
    ):
        with pytest.raises(Unreachable, match="tls"):
            await post(egress, f"https://hooks.example:{server.port}/")
        assert (await post(egress, f"https://{OUTSIDE}:{server.port}/")).status == 200
    assert len(server.requests) == 1


async def test_a_certificate_nobody_vouches_for_is_refused(authority: Authority) -> None:
    tls = authority.server(x509.DNSName("hooks.example"))
    async with listen(say(OK), tls=tls) as server, opened(Names([[OUTSIDE]]).lookup) as egress:
        with pytest.raises(Unreachable, match="tls"):
            await post(egress, f"https://hooks.example:{server.port}/")
    assert server.requests == []
