"""The paid call against sockets that misbehave: what may have been paid for is never called unsent."""

import asyncio
import gzip
import json
import logging
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography.x509 import IPAddress
from pydantic import SecretStr
from structlog.testing import capture_logs

from models.errors import Misconfigured
from tests.fixtures.certificates import Authority
from tests.fixtures.counting import counted
from worker.egress import trust
from worker.provider import Provider, line
from worker.provider.outcomes import Image, Outcome, Parked, Refused, TryLater, Unknown, Unusable

KEY = "sk-live-0123456789abcdef"
ID = "job_01jd:1"
INPUT = {"model": "bytedance/seedream-5-0-lite-preview", "prompt": "a cup", "seed": 7}
IMAGE_URL = "https://cdn.aimlapi.com/x.jpeg"
IMAGE = {
    "data": [{"url": IMAGE_URL, "size": "2048x2048"}],
    "meta": {"usage": {"credits_used": 91_000}},
}
SHORT, LONG = timedelta(milliseconds=400), timedelta(seconds=20)


class Request:
    """One request as a raw server saw it, read to the last byte of its body."""

    def __init__(self, head: str, body: bytes) -> None:
        first, *lines = head.split("\r\n")
        self.line = first
        self.headers = {k.lower(): v for k, v in (each.split(": ", 1) for each in lines if each)}
        self.body = body


Answering = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A raw server: it reads all of a request, and then does what the test says."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            request = Request(head, await reader.readexactly(length))
            self.requests.append(request)
            await self.answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, as some of these tests want it to
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(
        server.handle, "127.0.0.1", 0, ssl=tls, backlog=1024, limit=2**20
    )
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


def http(body: object, status: str = "200 OK", headers: str = "", *, short_by: int = 0) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(raw) + short_by}\r\n\r\n"
    )
    return head.encode() + raw


def says(raw: bytes) -> Answering:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return answer


async def generate(
    url: str, *, within: timedelta = LONG, connect: timedelta = LONG, key: str = KEY
) -> Outcome:
    async with Provider(url, SecretStr(key), connect) as provider:
        return await provider.generate(INPUT, client_request_id=ID, timeout=within)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def assert_not_sent(got: Outcome) -> None:
    assert isinstance(got, TryLater), got
    assert (got.reason, got.sent, got.counts) == ("not_sent", False, False)
    assert got.charge == "none"


def assert_unknown(got: Outcome, reason: str) -> None:
    assert isinstance(got, Unknown), got
    assert (got.reason, got.charge) == (reason, "unknown")


# What is sent.


async def test_a_call_sends_the_body_as_it_is_and_the_id() -> None:
    answer = says(http(IMAGE, headers=f"x-client-request-id: {ID}\r\n"))
    asked = {**INPUT, "response_format": "url", "num_images": 1}
    with capture_logs() as logs:
        async with serving(answer) as server, Provider(server.url, SecretStr(KEY)) as provider:
            got = await provider.generate(asked, client_request_id=ID, timeout=LONG)
    sent = server.requests[0]
    assert isinstance(got, Image)
    assert (got.url, got.size, got.charge) == (IMAGE_URL, "2048x2048", "settled")
    assert sent.line == "POST /v1/images/generations HTTP/1.1"
    assert json.loads(sent.body) == asked
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["x-client-request-id"] == ID
    assert sent.headers["content-type"] == "application/json"
    assert "transfer-encoding" not in sent.headers
    assert "cookie" not in sent.headers
    assert logs == []


async def test_a_base_url_may_have_a_path() -> None:
    async with serving(says(http(IMAGE))) as server:
        await generate(server.url + "/mirror/")
    assert server.requests[0].line == "POST /mirror/v1/images/generations HTTP/1.1"


async def test_an_input_of_many_megabytes_arrives_whole() -> None:
    reference = "data:image/png;base64," + "A" * 20_000_000
    async with (
        serving(says(http(IMAGE))) as server,
        Provider(server.url, SecretStr(KEY)) as provider,
    ):
        got = await provider.generate(
            {**INPUT, "image_urls": [reference]}, client_request_id=ID, timeout=LONG
        )
    assert isinstance(got, Image)
    assert json.loads(server.requests[0].body)["image_urls"] == [reference]


@pytest.mark.parametrize("bad", ["", "a" * 129, "job 1", "job/1", "jöb", "job\n", "job:1\r\nX: y"])
async def test_an_id_that_the_provider_would_drop_is_refused_before_anything_is_sent(
    bad: str,
) -> None:
    async with (
        serving(says(http(IMAGE))) as server,
        Provider(server.url, SecretStr(KEY)) as provider,
    ):
        with pytest.raises(ValueError, match="client request id"):
            await provider.generate(INPUT, client_request_id=bad, timeout=LONG)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("echo", "status", "logged"),
    [
        (f"x-client-request-id: {ID}\r\n", "200 OK", False),
        ("x-client-request-id: another\r\n", "200 OK", True),
        ("", "200 OK", True),
        ("", "502 Bad Gateway", False),
        ("x-client-request-id: another\r\n", "500 Oops", True),
    ],
)
async def test_an_echo_that_is_not_ours_is_logged(echo: str, status: str, *, logged: bool) -> None:
    with capture_logs() as logs:
        async with serving(says(http(IMAGE, status, echo))) as server:
            await generate(server.url)
    assert ("provider.request_id_not_echoed" in {entry["event"] for entry in logs}) is logged


async def test_each_call_has_a_connection_of_its_own() -> None:
    async with (
        serving(says(http(IMAGE))) as server,
        Provider(server.url, SecretStr(KEY)) as provider,
    ):
        for n in range(3):
            await provider.generate(INPUT, client_request_id=f"{ID}{n}", timeout=LONG)
    assert server.connections == 3


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serving(says(http(IMAGE))) as server:
        assert isinstance(await generate(server.url), Image)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "http://",
        "http://user:word@127.0.0.1",
        " http://127.0.0.1",
        "http://127.0.0.1/a\nb",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1:99999",
        "http://a..b",
    ],
)
async def test_a_base_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        await generate(url)


async def test_a_name_that_no_resolver_takes_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="label"):
        await generate(f"http://{'x' * 64}.invalid")


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_telling_it(key: str) -> None:
    with pytest.raises(ValueError, match="the provider's key") as refused:
        Provider("http://127.0.0.1", SecretStr(key))
    assert not key or key not in str(refused.value)


async def test_a_provider_outside_of_its_context_is_a_mistake() -> None:
    provider = Provider("http://127.0.0.1", SecretStr(KEY))
    with pytest.raises(RuntimeError, match="async with"):
        await provider.generate(INPUT, client_request_id=ID, timeout=LONG)


# Nothing was sent.


async def test_a_refused_connection_sent_nothing() -> None:
    assert_not_sent(await generate(f"http://127.0.0.1:{free_port()}"))


async def test_a_name_that_does_not_exist_sent_nothing() -> None:
    # A name of over 255 letters is refused by the resolver itself: no name server is asked.
    assert_not_sent(await generate(f"http://{'.'.join(['x' * 60] * 5)}.invalid"))


async def test_a_full_backlog_that_times_out_sent_nothing() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)  # noqa: FBT003 -- the socket's own signature
            each.connect_ex(listening.getsockname())
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            assert_not_sent(await generate(url, connect=SHORT))
        finally:
            for each in waiting:
                each.close()


async def test_a_tls_handshake_that_never_ends_sent_nothing() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        assert_not_sent(await generate(url, connect=SHORT))


async def test_a_server_that_does_not_speak_tls_was_sent_nothing() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert_not_sent(await generate(f"https://127.0.0.1:{port}"))


async def test_a_certificate_nobody_signed_was_sent_nothing(tmp_path: Path) -> None:
    tls = Authority.made(tmp_path).server(IPAddress(IPv4Address("127.0.0.1")))
    async with serving(says(http(IMAGE)), tls) as server:
        assert_not_sent(await generate(server.url))
    assert server.requests == []


# Sent, and nobody knows.


async def hang_up(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(_: Request, writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def reset_within(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(http(IMAGE)[:-100])
    await writer.drain()
    await asyncio.sleep(0.05)
    await reset(_, writer)


async def drip(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(http(IMAGE, short_by=10**6))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    while not writer.transport.is_closing():  # noqa: ASYNC110 -- the client's end is the event
        await asyncio.sleep(0.02)


async def hang_within(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(http(IMAGE)[:-100])
    await hang(_, writer)


@pytest.mark.parametrize(
    "answer",
    [
        hang_up,
        reset,
        reset_within,
        says(b"HTTP/1.1 200 OK\r\nContent-Type: appl"),
        says(b"HTTP/1.1 200 OK\r\n"),
        says(http(IMAGE)[:-100]),
        says(http(IMAGE, "500 Internal Server Error", short_by=10)),
        says(http(IMAGE, "400 Bad Request")[:-20]),
        says(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"dat\r\n'),
        says(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{"\r\nzz\r\n'),
        says(b"\x16\x03\x01 this is not HTTP at all\r\n\r\n"),
    ],
    ids=[
        "FIN before any byte",
        "RST after the body was read",
        "RST within the body",
        "half headers",
        "headers without their end",
        "half body",
        "half body of a 500",
        "half body of a 400",
        "half chunk",
        "no chunk",
        "garbage",
    ],
)
async def test_a_connection_that_breaks_after_the_request_is_unknown(answer: Answering) -> None:
    async with serving(answer) as server:
        assert_unknown(await generate(server.url), "connection_lost")
    assert len(server.requests) == 1  # and it was not sent twice


@pytest.mark.parametrize("answer", [hang, drip_headers, hang_within])
async def test_an_answer_that_does_not_end_in_time_is_unknown(answer: Answering) -> None:
    async with serving(answer) as server:
        started = asyncio.get_running_loop().time()
        assert_unknown(await generate(server.url, within=SHORT), "deadline")
        assert asyncio.get_running_loop().time() - started < 5
    assert len(server.requests) == 1


async def test_an_answer_that_is_there_is_read_though_it_does_not_end() -> None:
    async with serving(drip) as server:
        got = await generate(server.url, within=SHORT)
    assert isinstance(got, Image)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
async def test_a_success_cut_short_is_an_image_if_its_url_came_whole(status: bytes) -> None:
    whole = json.dumps(IMAGE).encode()
    async with serving(says(status + whole[:-20])) as server:
        assert isinstance(await generate(server.url), Image)
    async with serving(says(status + whole[: whole.index(b".jpeg")])) as server:
        reason = "unreadable" if b"1.0" in status else "connection_lost"
        assert_unknown(await generate(server.url), reason)


@pytest.mark.parametrize("price", ["", "x-aimlapi-credits-used: 0\r\n"])
async def test_a_broken_answer_still_names_its_inference(price: str) -> None:
    raw = http(IMAGE, headers=f"x-inference-id: inf-1\r\n{price}")
    async with serving(says(raw[: raw.index(b".jpeg")])) as server:
        got = await generate(server.url)
    assert_unknown(got, "connection_lost")
    assert (got.receipt.http_status, got.receipt.inference_id) == (200, "inf-1")
    assert got.evidence is not None
    assert got.evidence.body.endswith(b"/x")


PRICED = {"meta": {"usage": {"credits_used": 91_000}}, "data": [{"url": IMAGE_URL}]}
TOLD = "x-aimlapi-credits-used: 91000\r\n"


@pytest.mark.parametrize(
    ("raw", "end"),
    [
        (http(IMAGE, headers=TOLD), b".jpeg"),
        (http(IMAGE, headers=TOLD), b"{"),
        (http(IMAGE, "201 Created", headers=TOLD), b".jpeg"),
        (http(PRICED), b".jpeg"),
    ],
    ids=["in the URL", "before the body", "201", "told by the body"],
)
@pytest.mark.parametrize("silent", [False, True], ids=["closed", "silent"])
async def test_a_success_that_names_its_price_is_never_called_for_again(
    raw: bytes, end: bytes, *, silent: bool
) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw[: raw.index(end)])
        if silent:
            await hang(request, writer)

    async with serving(answer) as server:
        got = await generate(server.url, within=SHORT if silent else LONG)
    assert isinstance(got, Unusable), got
    assert (got.charge, got.credits) == ("settled", 91_000)
    assert (got.evidence is None) == (end == b"{")


async def test_a_price_is_read_though_the_head_breaks_off_behind_it() -> None:
    async with serving(says(f"HTTP/1.1 200 OK\r\n{TOLD}x-more: ".encode())) as server:
        got = await generate(server.url)
    assert isinstance(got, Unusable), got
    assert got.credits == 91_000


@pytest.mark.parametrize("told", ["9", "91", "9100"])
async def test_a_price_that_is_cut_off_is_not_believed(told: str) -> None:
    whole = json.dumps(PRICED).encode()
    cut = whole[: whole.index(b"91000")] + told.encode()
    async with serving(says(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + cut)) as server:
        assert_unknown(await generate(server.url), "connection_lost")
    raw = b"HTTP/1.1 200 OK\r\nx-aimlapi-credits-used: " + told.encode()
    async with serving(says(raw)) as server:
        got = await generate(server.url)
    assert_unknown(got, "connection_lost")
    assert (got.receipt.http_status, got.credits) == (200, None)


@pytest.mark.parametrize(
    "odd", [{"image": IMAGE_URL}, {"output": [IMAGE_URL]}, {"data": [{"image_url": {"url": IMAGE_URL}}]}]
)  # fmt: skip
async def test_an_image_is_found_in_what_came_whatever_its_shape(odd: dict[str, object]) -> None:
    raw = http({**odd, "more": "x"})
    async with serving(says(raw[:-4])) as server:
        got = await generate(server.url)
    assert isinstance(got, Image), got
    assert got.url == IMAGE_URL


@pytest.mark.parametrize("length", ["", "Content-Length: 118\r\n"])
async def test_chunks_that_are_only_said_are_overlooked(length: str) -> None:
    raw = json.dumps(IMAGE).encode()
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{length}\r\n".encode()
    assert not length or str(len(raw)) in length
    async with serving(says(head + raw)) as server:
        got = await generate(server.url)
    assert isinstance(got, Image)
    assert (got.url, got.credits) == (IMAGE_URL, 91_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "nonsense"])
async def test_a_coding_that_is_only_said_is_overlooked(coding: str) -> None:
    raw = http(IMAGE, headers=f"Content-Encoding: {coding}\r\n")
    async with serving(says(raw)) as server:
        assert isinstance(await generate(server.url), Image)


async def test_beyond_a_mebibyte_of_head_what_can_be_known_is_kept() -> None:
    headers = "x-inference-id: inf-1\r\nx-aimlapi-credits-used: 91000\r\n" + "x: y\r\n" * 400_000
    async with serving(says(http(IMAGE, headers=headers))) as server:
        got = await generate(server.url)
    assert isinstance(got, Unusable), got
    assert (got.receipt.inference_id, got.credits) == ("inf-1", 91_000)


@pytest.mark.parametrize(
    "headers",
    [
        "x-aimlapi-credits-used: 91000\r\n" * 2,
        "x: y\r\n" * 9_000 + "x-aimlapi-credits-used: 91000\r\n",
    ],
)
async def test_a_price_is_read_though_it_comes_twice_or_late(headers: str) -> None:
    async with serving(says(http(IMAGE, headers=headers))) as server:
        assert (await generate(server.url)).credits == 91_000


async def test_an_answer_without_end_is_cut_off() -> None:
    async def flood(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 2**20)
            await writer.drain()

    async with serving(flood) as server:
        assert_unknown(await generate(server.url), "too_large")


async def test_a_server_that_reads_nothing_cannot_hold_a_call_beyond_its_deadline() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with Provider(url, SecretStr(KEY)) as provider:
            big = {**INPUT, "image_urls": ["data:image/png;base64," + "A" * 20_000_000]}
            async with asyncio.timeout(5):
                got = await provider.generate(big, client_request_id=ID, timeout=SHORT)
    assert_unknown(got, "deadline")


_CALLER = """
import sys
from datetime import timedelta
import uvloop
from pydantic import SecretStr
from worker.provider import Provider

async def call():
    async with Provider(sys.argv[1], SecretStr("sk-live-0123456789abcdef")) as provider:
        body = {"model": "bytedance/seedream-5-0-lite-preview", "prompt": "a cup"}
        return await provider.generate(body, client_request_id="a", timeout=timedelta(seconds=1))

print(type(uvloop.run(call())).__name__)
"""


@pytest.mark.parametrize("late", [0.2, 0.6, 1.5])
async def test_an_answer_that_came_in_time_is_read_though_the_process_was_frozen(
    late: float,
) -> None:
    """It lies in the socket, whole and paid, when the deadline has passed."""
    caller = None

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        assert caller is not None
        caller.send_signal(signal.SIGSTOP)
        await says(http(IMAGE))(_, writer)
        await asyncio.sleep(1 + late)
        caller.send_signal(signal.SIGCONT)
        await asyncio.sleep(1)

    async with serving(answer) as server:
        caller = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _CALLER,
            server.url,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        told, _ = await asyncio.wait_for(caller.communicate(), 60)
    assert told.split()[-1] == b"Image"


async def test_a_line_that_is_closed_during_a_look_up_ends_the_call_with_an_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    async def slow(*_: object, **__: object) -> list[object]:
        asked.set()
        await asyncio.sleep(30)
        return []

    monkeypatch.setattr(loop, "getaddrinfo", slow)
    async with Provider("http://provider.invalid", SecretStr(KEY)) as provider:
        call = asyncio.create_task(provider.generate(INPUT, client_request_id=ID, timeout=LONG))
        await asked.wait()
    assert_unknown(await call, "connection_lost")


def test_a_file_of_authorities_that_has_none_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for named in (str(empty), "/nowhere.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", named)
        with pytest.raises(Misconfigured, match=f"SSL_CERT_FILE.*{named}"):
            trust.authorities()


async def test_an_answer_is_kept_by_a_task_that_was_told_to_end_before() -> None:
    """What aiohttp cancels of its own, a body that nobody reads, is no end of the call's task."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(IMAGE))  # without reading the request
        await writer.drain()
        await over.wait()
        writer.close()

    async def call(url: str) -> Outcome:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        big = {**INPUT, "image_urls": ["data:image/png;base64," + "A" * 20_000_000]}
        async with Provider(url, SecretStr(KEY)) as provider:
            return await provider.generate(big, client_request_id=ID, timeout=LONG)

    over = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        task = asyncio.create_task(call(url))
        await asyncio.sleep(0)
        task.cancel()
        assert isinstance(await task, Image)
        over.set()


# Answers that came whole.


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("401 Unauthorized", {"message": "Unauthorized", "statusCode": 401}, Parked),
        ("404 Not Found", {"message": "no such model", "statusCode": 404}, Refused),
        ("429 Too Many Requests", {"message": "x", "statusCode": "429"}, TryLater),
        ("502 Bad Gateway", b"<html></html>", Unknown),
        ("307 Temporary Redirect", b"", Unknown),
    ],
)
async def test_a_whole_answer_goes_through_the_table(
    status: str, body: object, expected: type[Outcome]
) -> None:
    async with serving(says(http(body, status, "Location: /elsewhere\r\n"))) as server:
        assert isinstance(await generate(server.url), expected)
    assert len(server.requests) == 1


async def test_an_answer_that_is_compressed_all_the_same_is_read() -> None:
    squeezed = gzip.compress(json.dumps(IMAGE).encode())
    async with serving(says(http(squeezed, headers="Content-Encoding: gzip\r\n"))) as server:
        assert isinstance(await generate(server.url), Image)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_small_answer_that_unpacks_to_a_flood_is_cut_off() -> None:
    bomb = gzip.compress(b" " * (line.BODY_MAX + 1))
    async with serving(says(http(bomb, headers="Content-Encoding: gzip\r\n"))) as server:
        assert_unknown(await generate(server.url), "unreadable")


async def test_a_cancelled_call_is_cancelled() -> None:
    async with serving(hang) as server:
        call = asyncio.ensure_future(generate(server.url))
        while not server.requests:  # noqa: ASYNC110 -- the server's list is the event
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_three_hundred_calls_at_once_are_cheap_and_all_end() -> None:
    await _at_once(3)  # imports, and what else is done once
    few, many = await _at_once(30), await _at_once(300)
    assert many / 300 < 1.2 * few / 30, "a call costs the more the more there are"


async def _at_once(number: int) -> int:
    """Return what so many calls in flight at one moment cost, server included, in calls of functions."""
    together, arrived = asyncio.Event(), 0

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == number:
            together.set()
        await together.wait()
        await says(http(IMAGE))(_, writer)

    async with serving(answer) as server, Provider(server.url, SecretStr(KEY)) as provider:
        with counted() as work:
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(
                        provider.generate(INPUT, client_request_id=f"{ID}{n}", timeout=LONG)
                    )
                    for n in range(number)
                ]
    assert all(isinstance(call.result(), Image) for call in calls)
    return work.calls


async def test_the_key_is_nowhere_to_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    body = {"statusCode": 400, "message": f"bad key {KEY}", "error": {"param": KEY, "message": KEY}}
    answers: list[Answering] = [
        says(http(body, "400 Bad Request")),
        says(http(body, "401 Unauthorized")),
        says(http(body, "501 Not Implemented")),
        says(http(IMAGE, headers=f"x-client-request-id: {ID}\r\n")),
        says(http(IMAGE, headers=f"x-client-request-id: {KEY}\r\nx-request-id: {KEY}\r\n")),
        reset,
    ]
    with capture_logs() as logs:
        for answer in answers:
            async with serving(answer) as server:
                provider = Provider(server.url, SecretStr(KEY))
                async with provider:
                    got = await provider.generate(INPUT, client_request_id=ID, timeout=LONG)
                    shown += [
                        repr(provider),
                        repr(provider.account),
                        repr(got),
                        str(vars(provider)),
                    ]
        shown.append(repr(await generate(f"http://127.0.0.1:{free_port()}")))
    everything = "\n".join([*shown, repr(logs), caplog.text])
    assert "call.broken" in everything  # the logs were looked at
    assert KEY not in everything
