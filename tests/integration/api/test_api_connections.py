"""What a client may do before its request is whole: real sockets, on a real api process."""

import asyncio
import json
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import repeat
from pathlib import Path

import httpx
import pytest

from api.edge.connections.refusing import FIELDS_MAX, HEAD_MAX, URL_MAX
from deploy.local import ports
from deploy.local.servers.server import launched
from models.settings import Settings
from tests.conftest import PLAIN, make_settings
from tests.e2e.stage import ROOT, role_environment
from tests.integration.api.client import Api, body
from tests.integration.api.conftest import Serve

HEAD = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
MANY = 6  # connections of one attack
MOST = 16 * 1024 * 1024  # bytes that an attack sends on each, if it is let
ROOM = 128 * 1024 * 1024  # bytes of memory that six attacks may cost; without bounds 3,501 MiB


@dataclass(frozen=True)
class Running:
    """An api process."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def memory(self) -> int:
        """Its resident memory, in bytes."""
        return (
            int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            * resource.getpagesize()
        )

    async def get(self, path: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with httpx.AsyncClient(timeout=20, trust_env=False, verify=PLAIN) as client:
            return await client.get(url)


@asynccontextmanager
async def started(folder: Path, **environment: str) -> AsyncIterator[Running]:
    """Run an api process on no database at all; it answers /healthz."""
    port = ports.pick()
    settings = make_settings(storage_url=str(folder / "images"), redis_url="redis://127.0.0.1:1/0")
    own = role_environment(settings, {"DARKROOM_PORT": str(port), **environment})
    with (folder / "api.log").open("ab") as log:
        command = launched((sys.executable, "-m", "api"))
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=own)  # noqa: ASYNC220
    running = Running(port, process)
    try:
        async with asyncio.timeout(60):
            while True:
                with suppress(httpx.HTTPError):
                    if (await running.get("/healthz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One api process for the attacks of this file."""
    folder = tmp_path_factory.mktemp("edge")
    async with started(folder, DARKROOM_HEAD_TIMEOUT="1", DARKROOM_KEEP_ALIVE="3") as made:
        yield made


@asynccontextmanager
async def dialed(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def converse(port: int, *parts: bytes) -> bytes:
    """Send what may have no end, and return all that was answered until the other side closed."""
    async with dialed(port) as (reader, writer):
        answering = asyncio.create_task(_read(reader))
        sent = 0
        with suppress(OSError):
            for part in parts if len(parts) < 3 else parts[:1]:
                writer.write(part)
            for part in repeat(parts[2]) if len(parts) > 2 else ():
                if sent > MOST or answering.done():
                    break
                writer.write(part)
                sent += len(part)
                await writer.drain()
        async with asyncio.timeout(30):
            answer = await answering
        assert sent <= MOST, "it was closed before"
        return answer


async def _read(reader: asyncio.StreamReader) -> bytes:
    read = bytearray()
    with suppress(OSError):
        while part := await reader.read(65_536):
            read += part
    return bytes(read)


def told(answer: bytes) -> tuple[int, str]:
    """Return the status and the code of a refusal in problem+json."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head.lower()
    said = json.loads(body)
    assert said["status"] == int(head.split()[1])
    assert said["request_id"].startswith("req_")
    assert f"x-request-id: {said['request_id']}".encode() in head
    return said["status"], said["code"]


ENDLESS = {
    "the value of a header": (HEAD + b"a: ", b"a" * 65_536),
    "the name of a header": (HEAD, b"a" * 65_536),
    "a list of headers": (HEAD, b"a: b\r\n" * 10_000),
    "a URL": (b"GET /", b"a" * 65_536),
    "a query": (b"GET /healthz?", b"a" * 65_536),
    "line breaks before a request": (b"", b"\r\n" * 32_768),
    "an extension of a chunk": (POST + b"1;a=", b"a" * 65_536),
    "the value of a trailer": (POST + b"0\r\na: ", b"a" * 65_536),
    "a list of trailers": (POST + b"0\r\n", b"a: b\r\n" * 10_000),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_what_has_no_end_is_cut_off_and_costs_little_memory(
    running: Running, what: str
) -> None:
    start, more = ENDLESS[what]
    before = running.memory
    answers = await asyncio.gather(*(converse(running.port, start, b"", more) for _ in range(MANY)))
    assert running.memory - before < ROOM
    # Whoever sends on may be reset before the answer is read; without a key no body is waited for.
    assert {int(each.split()[1]) for each in answers if each} <= {401, 414, 431}
    assert (await running.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"a: " + b"a" * (HEAD_MAX - 500) + b"\r\n", 200),
        (HEAD + b"a: " + b"a" * HEAD_MAX + b"\r\n", 431),
        (HEAD + b"a: b\r\n" * (FIELDS_MAX - 1), 200),
        (HEAD + b"a: b\r\n" * FIELDS_MAX, 431),
        (b"GET /" + b"a" * (URL_MAX - 100) + b" HTTP/1.1\r\nhost: x\r\n", 404),
        (b"GET /healthz?" + b"a" * URL_MAX + b" HTTP/1.1\r\nhost: x\r\n", 414),
    ],
    ids=lambda given: given if isinstance(given, int) else "head",
)
async def test_a_head_is_bounded_to_the_letter(running: Running, head: bytes, status: int) -> None:
    async with dialed(running.port) as (reader, writer):
        writer.write(head + b"\r\n")
        answered = await reader.readuntil(b"\r\n\r\n")
        assert int(answered.split()[1]) == status
        if status in {414, 431}:
            assert b"x-request-id: " in answered
            told(answered + await _read(reader))


async def test_half_a_head_is_not_waited_for(running: Running) -> None:
    answers = await asyncio.gather(*(converse(running.port, HEAD + b"a: b") for _ in range(20)))
    assert {told(each) for each in answers} == {(408, "request_timeout")}


async def test_a_head_that_trickles_is_not_waited_for_either(running: Running) -> None:
    async with dialed(running.port) as (reader, writer):
        answering = asyncio.create_task(_read(reader))
        for byte in HEAD * 20:
            if answering.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert told(await answering) == (408, "request_timeout")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x00\xf4\x01\r\n\r\n", b"hello\r\n\r\n", b"GET\r\n\r\n"]
)
async def test_what_is_no_http_is_refused(running: Running, sent: bytes) -> None:
    assert told(await converse(running.port, sent)) == (400, "malformed_request")


async def test_a_body_that_is_no_http_ends_its_request(running: Running) -> None:
    assert told(await converse(running.port, POST + b"nonsense\r\n")) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("codings", "answered"),
    [
        (b"transfer-encoding: gzip, chunked\r\n", (501, "unsupported_transfer_coding")),
        (b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
         (501, "unsupported_transfer_coding")),
        (b"transfer-encoding: Chunked\r\n", (401, "unauthenticated")),
    ],
)  # fmt: skip
async def test_a_body_in_an_unknown_coding_is_refused(
    running: Running, codings: bytes, answered: tuple[int, str]
) -> None:
    asked = b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + codings + b"\r\n"
    assert told(await converse(running.port, asked + b"2\r\n{}\r\n0\r\n\r\n")) == answered


async def test_requests_sent_ahead_are_answered_in_order_and_few(running: Running) -> None:
    asked = b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(8))
    last = b"GET /8 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answered = await converse(running.port, asked + last)
    assert [answered.find(b'"instance":"/%d"' % n) > 0 for n in range(9)] == [True] * 9
    before = running.memory
    many = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 9_000
    answers = await asyncio.gather(*(converse(running.port, many) for _ in range(MANY)))
    assert running.memory - before < ROOM
    assert max(each.count(b"HTTP/1.1 ") for each in answers) < 100


async def test_an_answer_comes_in_one_piece(running: Running) -> None:
    async with dialed(running.port) as (reader, writer):
        for _ in range(20):
            writer.write(HEAD + b"\r\n")
            assert (await reader.read(1 << 16)).endswith(b'\r\n\r\n{"status":"ok"}')
        writer.write(HEAD.replace(b"GET", b"HEAD", 1) + b"connection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n"), "and one without a body is its head"


async def test_garbage_after_a_request_does_not_spoil_its_answer(running: Running) -> None:
    answered = await converse(running.port, HEAD + b"\r\n" + b"garbage\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert answered.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    "asked",
    [
        HEAD + b"content-length: 100\r\n" + b"a: b\r\n" * FIELDS_MAX + b"\r\n",
        HEAD + b"content-length: 100\r\nconnection: close\r\n\r\n",
        HEAD + b"\r\n" + b"garbage\r\n\r\n",
        POST + b"nonsense\r\n",
    ],
    ids=["a head too long", "the last one", "garbage behind", "garbage within"],
)
async def test_bytes_that_come_behind_an_answer_do_not_reset_it(
    running: Running, asked: bytes
) -> None:
    async with dialed(running.port) as (reader, writer):
        writer.write(asked)
        answer = await reader.readexactly(9)
        for _ in range(3):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)  # for a reset to come, if one does
        answer += await reader.read()
    assert answer.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("to", [b"websocket", b"h2c"])
async def test_who_asks_for_another_protocol_is_answered_in_this_one(
    running: Running, to: bytes
) -> None:
    upgrade = b"connection: upgrade\r\nupgrade: " + to + b"\r\n"
    posted = b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
    async with dialed(running.port) as (reader, writer):
        for asked, status in ((HEAD + upgrade + b"\r\n", 200), (posted + upgrade + b"\r\n{}", 401)):
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            assert int(head.split()[1]) == status
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)


@pytest.mark.long
async def test_a_connection_on_which_nothing_comes_is_closed(running: Running) -> None:
    async with asyncio.timeout(20):
        assert await converse(running.port, b"") == b""
        assert (await converse(running.port, HEAD + b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_nobody_reads_is_not_waited_for(running: Running) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    async with asyncio.timeout(20):
        assert (await converse(running.port, asked)).startswith(b"HTTP/1.1 200 ")


def test_nobody_is_closed_before_a_balancer_would_close() -> None:
    assert make_settings().keep_alive.total_seconds() == 75


async def test_idle_and_half_sent_connections_keep_nobody_out(
    settings: Settings, serving: Serve
) -> None:
    async with serving(settings.model_copy(update={"connections_max": 20})) as api:
        port = httpx.URL(api.url).port or 0
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        for n, (_, writer) in enumerate(held):
            writer.write(HEAD if n % 2 else b"")
        for _ in range(3):
            await assert_served(api)
        for _, writer in held:
            writer.close()


async def assert_served(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as fresh:
        assert (await fresh.get("/healthz")).status_code == 200


async def test_when_all_are_busy_who_comes_is_told_to_come_again(
    settings: Settings, serving: Serve
) -> None:
    async with serving(settings.model_copy(update={"connections_max": 8})) as api:
        # One of each project: no project has more than its share.
        waits = [
            asyncio.create_task(hold(api, await api.another_project(f"{n}"))) for n in range(8)
        ]
        async with asyncio.timeout(60):
            while len(api.state.doorbell.waiting("job")) < len(waits):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert await full(api)
        api.state.waiting.drain()
        assert {(await each).status_code for each in waits} >= {200}
        await assert_served(api)


async def hold(api: Api, key: Mapping[str, str]) -> httpx.Response:
    """Submit a job, and wait for what nobody makes."""
    async with httpx.AsyncClient(
        base_url=api.url, trust_env=False, verify=PLAIN, timeout=60, headers=key
    ) as own:
        made = (await own.post("/v1/jobs", json=body())).json()
        return await own.get(f"/v1/jobs/{made['id']}", params={"wait": 30})


async def full(api: Api) -> bool:
    """Return whether a new connection is refused, in the form of every refusal."""
    async with dialed(httpx.URL(api.url).port or 0) as (reader, writer):
        writer.write(HEAD + b"connection: close\r\n\r\n")
        answered = await _read(reader)
    if not answered or answered.startswith(b"HTTP/1.1 200 "):
        return False
    assert told(answered) == (503, "unavailable")
    assert b"retry-after: " in answered
    return True


async def test_one_address_has_a_bound_and_a_balancers_has_none(
    settings: Settings, serving: Serve
) -> None:
    bounds = {"connections_per_address": 3, "connections_max": 100}
    for balancers, refused in (((), True), ((ip_network("127.0.0.0/8"),), False)):
        async with serving(settings.model_copy(update={**bounds, "balancers": balancers})) as api:
            port = httpx.URL(api.url).port or 0
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            assert await full(api) is refused
            for _, writer in held:
                writer.close()


@pytest.mark.long
async def test_told_to_stop_it_serves_on_until_balancers_have_noticed(tmp_path: Path) -> None:
    async with started(tmp_path, DARKROOM_DRAIN="3") as api:
        reset: list[str] = []
        statuses: list[tuple[int, bool]] = []
        over = asyncio.Event()

        async def client() -> None:
            """Ask over and over, on one connection as long as it is kept; unreachable is the end."""
            limits = httpx.Limits(max_keepalive_connections=1)
            base = f"http://127.0.0.1:{api.port}"
            async with httpx.AsyncClient(
                base_url=base, trust_env=False, verify=PLAIN, limits=limits, timeout=20
            ) as own:
                while not over.is_set():
                    try:
                        answer = await own.get("/healthz")
                    except httpx.ConnectError:
                        return
                    except httpx.HTTPError as broken:
                        reset.append(repr(broken))
                        return
                    closes = answer.headers.get("connection") == "close"
                    statuses.append((answer.status_code, closes))
                    await asyncio.sleep(0.02)

        clients = [asyncio.create_task(client()) for _ in range(8)]
        while len(statuses) < 80:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        api.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while (await api.get("/readyz")).json()["detail"] != "draining":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        told_after = len(statuses)
        # As a balancer does once it has seen that: nobody is sent here any more.
        while len(statuses) < told_after + 80:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        over.set()
        await asyncio.gather(*clients)
        assert reset == []
        assert {status for status, _ in statuses} == {200}
        assert all(closes for _, closes in statuses[told_after + 16 :])
        assert await asyncio.to_thread(api.process.wait, 30) == 0
