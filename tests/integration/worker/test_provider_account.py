"""The account routes, against a server that answers with whatever the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from worker.provider import (
    Account,
    AccountUnavailable,
    LogPage,
    LogRow,
    Provider,
    TransactionPage,
    TransactionRow,
    line,
)

KEY, OLD_KEY = "sk-live-0123456789abcdef", "sk-old-0123456789abcdef"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
END = datetime(2026, 3, 1, 15, 30, tzinfo=timezone(timedelta(hours=2)))

LOGGED: dict[str, object] = {
    "created": "2026-03-01T12:00:05.000Z",
    "status": "succeeded",
    "origin": "api",
    "model": "bytedance/seedream-5-0-lite-preview",
    "cost": {"usd": 0.0455, "credits": 91_000},
    "tokens": {"input": 0, "output": 0, "total": 0},
    "request_id": "req-1",
    "inference_id": "inf-1",
    "client_request_id": "job_1:1",
}
MOVED: dict[str, object] = {
    "created_at": "2026-03-01T12:00:06.000Z",
    "direction": "CHARGE",
    "type": "MODEL_USAGE",
    "amount": {"usd": 0.0455, "credits": 91_000},
    "model": "bytedance/seedream-5-0-lite-preview",
    "reference_id": "inf-1",
}
PAGE = {"limit": 100, "offset": 0, "total": 1, "has_more": False}


class Server:
    """Answers every request alike, and remembers them."""

    def __init__(self, raw: bytes | None, status: int) -> None:
        self.raw, self.status = raw, status
        self.targets: list[str] = []
        self.keys: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.targets.append(head.split(" ")[1])
            self.keys.append(head.partition("Bearer ")[2].partition("\r\n")[0])
            if self.raw is None:
                await reader.read()  # until the client gives up
            else:
                length = len(self.raw)
                writer.write(
                    f"HTTP/1.1 {self.status} X\r\nContent-Length: {length}\r\n\r\n".encode()
                )
                writer.write(self.raw)
        finally:
            writer.close()

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.targets[-1]).query, strict_parsing=True)


@asynccontextmanager
async def asking(body: object, status: int = 200) -> AsyncIterator[tuple[Account, Server]]:
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    server = Server(raw, status)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with Provider(f"http://127.0.0.1:{port}", SecretStr(KEY)) as provider:
            yield provider.account, server


async def test_a_page_of_the_log_is_asked_for_and_read() -> None:
    second = {**LOGGED, "status": "failed", "cost": {"usd": 0, "credits": 0}}
    second["client_request_id"] = None
    page = {**PAGE, "total": 250, "has_more": True}
    async with asking({"data": [LOGGED, second], "pagination": page}) as (asked, server):
        got = await asked.logs(START, END, limit=50, offset=100)
    assert urlsplit(server.targets[0]).path == "/v2/logs"
    assert server.query == {
        "start": ["2026-03-01T12:00:00.000Z"],
        "end": ["2026-03-01T13:30:00.000Z"],
        "limit": ["50"],
        "offset": ["100"],
    }
    assert (got.has_more, got.total) == (True, 250)
    assert got.rows[0] == LogRow(
        created=START + timedelta(seconds=5),
        status="succeeded",
        credits=91_000,
        inference_id="inf-1",
        client_request_id="job_1:1",
    )
    assert (got.rows[1].status, got.rows[1].credits) == ("failed", 0)
    assert got.rows[1].client_request_id is None


async def test_a_retired_key_asks_for_its_own_log() -> None:
    async with asking({"data": [], "pagination": PAGE}) as (asked, server):
        await asked.logs(START, END)
        await asked.logs(START, END, key=SecretStr(OLD_KEY))
    assert server.keys == [KEY, OLD_KEY]


async def test_a_moment_without_a_zone_is_never_guessed() -> None:
    async with asking({"data": [], "pagination": PAGE}) as (asked, server):
        with pytest.raises(ValueError, match="time zone"):
            await asked.logs(START.replace(tzinfo=None), END)
    assert server.targets == []


async def test_a_page_of_transactions_is_asked_for_and_read() -> None:
    pagination = {"next_cursor": "eyJ2Ijox+/=", "has_more": True}
    async with asking({"data": [MOVED], "pagination": pagination}) as (asked, server):
        first = await asked.transactions(START, END)
        assert "cursor" not in server.query
        await asked.transactions(START, END, first.next_cursor, kind="REFUND")
    assert urlsplit(server.targets[0]).path == "/v2/billing/transactions"
    assert server.query == {
        "from": ["2026-03-01T12:00:00.000Z"],
        "to": ["2026-03-01T13:30:00.000Z"],
        "type": ["REFUND"],
        "limit": ["100"],
        "cursor": ["eyJ2Ijox+/="],  # verbatim
    }
    assert first.rows == (
        TransactionRow(
            created_at=START + timedelta(seconds=6),
            direction="CHARGE",
            kind="MODEL_USAGE",
            credits=91_000,
            model="bytedance/seedream-5-0-lite-preview",
            reference_id="inf-1",
        ),
    )


async def test_the_last_page_of_transactions_has_no_cursor() -> None:
    pagination = {"next_cursor": None, "has_more": False}
    async with asking({"data": [], "pagination": pagination}) as (asked, _):
        assert (await asked.transactions(START, END)).next_cursor is None


@pytest.mark.parametrize("written", ["123.45", "0", "-0.1", "0.10000000000000000555"])
async def test_a_balance_is_exact(written: str) -> None:
    body = f'{{"current_balance": {written}, "currency": "USD"}}'.encode()
    async with asking(body) as (asked, server):
        assert await asked.balance() == Decimal(written)
    assert server.targets == ["/v2/billing"]


async def test_a_price_is_asked_for_by_id_and_found_by_alias() -> None:
    pricing = {"kind": "fixed", "currency": "USD", "units": [{"price": 0.0455, "per": "image"}]}
    entry = {"id": "bytedance/seedream-5-0-lite-preview", "aliases": ["lite"], "pricing": pricing}
    async with asking({"object": "list", "data": [entry]}) as (asked, server):
        told = await asked.quotes(["lite", "another"])
        assert told is not None
        assert {model: each.credits for model, each in told[0].items()} == {"lite": 91_000}
    assert server.targets == ["/v1/models?id=lite,another&include=pricing"]


CALLS: dict[str, Callable[[Account], Awaitable[object]]] = {
    "logs": lambda asked: asked.logs(START, END),
    "transactions": lambda asked: asked.transactions(START, END),
    "balance": lambda asked: asked.balance(),
    "quotes": lambda asked: asked.quotes(["lite"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message": "Unauthorized"}, 401),
        ({"message": "unknown parameter"}, 400),
        (b"<html></html>", 502),
        ({}, 302),
        (b"<html></html>", 200),
        (b"[" * 100_000, 200),
        ([], 200),
        ({}, 200),
        ({"data": "x", "pagination": {}, "current_balance": "much"}, 200),
    ],
    ids=[
        "unauthorized",
        "refused",
        "edge",
        "redirect",
        "not JSON",
        "too deep",
        "a list",
        "nothing",
        "odd",
    ],
)
async def test_anything_unexpected_makes_the_account_unavailable(
    call: Callable[[Account], Awaitable[object]],
    body: object,
    status: int,
) -> None:
    async with asking(body, status) as (asked, _):
        with pytest.raises(AccountUnavailable) as refused:
            await call(asked)
    assert KEY not in str(refused.value)


async def read_log(asked: Account) -> LogPage:
    return await asked.logs(START, END)


async def read_ledger(asked: Account) -> TransactionPage:
    return await asked.transactions(START, END)


ODD: list[tuple[Callable[[Account], Awaitable[LogPage | TransactionPage]], object, object]] = [
    *(
        (read_log, LOGGED, odd)
        for odd in (
            {"created": "yesterday"},
            {"created": "0001-01-01T00:00:00Z"},
            {"created": None},
            {"status": "pending"},
            {"status": ["failed"]},
            {"cost": None},
            {"cost": {"credits": -1}},
            {"cost": {"credits": 10**400}},
            {"client_request_id": 7},
            {"client_request_id": "job_1:1\0"},
            {"inference_id": "x" * 10_000},
            {"inference_id": "\ud800"},
        )
    ),
    *(
        (read_ledger, MOVED, odd)
        for odd in (
            {"created_at": "soon"},
            {"direction": "SIDEWAYS"},
            {"type": None},
            {"amount": {"usd": "much"}},
            {"reference_id": {"id": 1}},
        )
    ),
]


@pytest.mark.parametrize(("read", "row", "odd"), ODD, ids=range(len(ODD)))
async def test_a_row_of_another_shape_is_skipped_counted_and_told_once(
    read: Callable[[Account], Awaitable[LogPage | TransactionPage]],
    row: dict[str, object],
    odd: dict[str, object],
) -> None:
    page = "logs" if read is read_log else "transactions"
    before = skipped(page)
    pagination = {**PAGE, "next_cursor": None}
    body = {"data": [row, {**row, **odd}, row], "pagination": pagination}
    async with asking(body) as (asked, _):
        with capture_logs() as logs:
            first, second = await read(asked), await read(asked)
    assert len(first.rows) == len(second.rows) == 2
    assert len(first.odd) == 1
    assert next(iter(odd)).partition("_")[0] in first.odd[0].reason
    assert skipped(page) - before == 2
    assert [line["event"] for line in logs] == ["provider.odd_row"]


@pytest.mark.parametrize("row", [None, "a row", 7, [], {}], ids=str)
async def test_what_is_no_row_at_all_is_skipped(row: object) -> None:
    async with asking({"data": [row, LOGGED], "pagination": PAGE}) as (asked, _):
        page = await asked.logs(START, END)
    assert (len(page.rows), len(page.odd), page.length) == (1, 1, 2)


def skipped(page: str) -> float:
    return REGISTRY.get_sample_value("darkroom_provider_odd_rows_total", {"page": page}) or 0.0


@pytest.mark.parametrize(
    "pagination",
    [
        {"next_cursor": None, "has_more": True},
        {"next_cursor": 5, "has_more": True},
        {"next_cursor": "x"},
        None,
    ],
    ids=str,
)
async def test_a_page_that_cannot_be_followed_is_not_believed(pagination: object) -> None:
    async with asking({"data": [MOVED], "pagination": pagination}) as (asked, _):
        with pytest.raises(AccountUnavailable):
            await asked.transactions(START, END)


@pytest.mark.parametrize("body", [b'{"current_balance": NaN}', b'{"current_balance": true}'])
async def test_a_balance_that_is_no_number_is_not_believed(body: bytes) -> None:
    async with asking(body) as (asked, _):
        with pytest.raises(AccountUnavailable, match="current_balance"):
            await asked.balance()


async def test_an_account_that_says_nothing_is_unavailable_after_its_deadline() -> None:
    server = Server(None, 200)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        way = line.Line(url, timedelta(seconds=10))
        with pytest.raises(AccountUnavailable, match="TimeoutError"):
            await Account(way, SecretStr(KEY), timedelta(seconds=0.2)).balance()
        await way.close()


async def test_an_account_that_cannot_be_reached_is_unavailable() -> None:
    async with Provider("http://127.0.0.1:1", SecretStr(KEY)) as provider:
        with pytest.raises(AccountUnavailable, match="/v2/billing"):
            await provider.account.balance()
