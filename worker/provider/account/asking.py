"""The account behind a key: what was logged, what was charged, what is left, what it costs."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import structlog
from prometheus_client import Counter
from pydantic import SecretStr

from models.errors import DarkroomError
from worker.provider import line
from worker.provider.account import pricing
from worker.provider.account.pages import LogPage, OddRow, TransactionPage
from worker.provider.account.pricing import Quote

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Nobody waits for these answers; a duty that hangs would hold its lease.
DEADLINE = timedelta(seconds=30)
PAGE_MAX = 100
_OK, _NOT_MODIFIED = 200, 304
_MODELS = "/v1/models"
_GENERATIONS = "openai/images-generations"  # the type of our endpoint
_REFUSED = frozenset({401, 403})
_RICHEST = 10**9  # US dollars

_ODD = Counter(
    "darkroom_provider_odd_rows",
    "Rows of the provider's log or ledger that were skipped: they are not of the published shape",
    ["page"],
)

T = TypeVar("T")


class AccountUnavailable(DarkroomError):
    """The provider's account routes gave no answer that can be believed; ask again later."""


class AccountRefused(AccountUnavailable):
    """An account route does not accept the key."""


class Account:
    """The account routes of AIML API, to be had from `Provider.account`.

    Every call takes another `key` to ask with, for the log shows only the requests of the key that
    asks; ends within 30 s; and raises `AccountUnavailable` for anything but the published answer.
    The provider allows 200 requests in 60 s for the account: the caller counts.
    """

    def __init__(
        self,
        way: line.Line,
        key: SecretStr,
        deadline: timedelta = DEADLINE,
        *,
        told: set[str] | None = None,
    ) -> None:
        self._line = way
        self._key = key
        self._deadline = deadline
        self._told = set[str]() if told is None else told

    async def logs(
        self,
        start: datetime,
        end: datetime,
        limit: int = PAGE_MAX,
        offset: int = 0,
        *,
        key: SecretStr | None = None,
    ) -> LogPage:
        """Return one page of the key's requests in a window (at most 92 days), newest first."""
        query = {
            "start": _written(start),
            "end": _written(end),
            "limit": str(limit),
            "offset": str(offset),
        }
        page = _understood("logs", LogPage.of, await self._get("/v2/logs", query, key))
        self._note_odd("logs", page.odd)
        return page

    async def transactions(
        self,
        since: datetime,
        until: datetime,
        cursor: str | None = None,
        *,
        kind: str | None = "MODEL_USAGE",
        key: SecretStr | None = None,
    ) -> TransactionPage:
        """Return one page of the account's money movements, newest first.

        `cursor` is the previous page's `next_cursor`, verbatim. `kind` is one of `MODEL_USAGE`,
        `REFUND`, `ADJUSTMENT`, and the others of the published list; None for all of them.
        """
        query = {
            "from": _written(since),
            "to": _written(until),
            **({} if kind is None else {"type": kind}),
            "limit": str(PAGE_MAX),
            **({} if cursor is None else {"cursor": cursor}),
        }
        body = await self._get("/v2/billing/transactions", query, key)
        page = _understood("transactions", TransactionPage.of, body)
        self._note_odd("transactions", page.odd)
        return page

    async def balance(self, *, key: SecretStr | None = None) -> Decimal:
        """Return what is left, in US dollars, exactly; it may be negative."""
        return _understood("balance", _balance, await self._get("/v2/billing", {}, key))

    async def quotes(
        self, models: Sequence[str], etag: str | None = None
    ) -> tuple[dict[str, Quote], str | None] | None:
        """Return what an image of each model costs, of those that have a price, and the answer's ETag.

        None where nothing has changed since the answer that had `etag`. One request for all, without a key.
        """
        query = {"id": ",".join(models), "include": "pricing"}
        headers = {} if etag is None else {"If-None-Match": etag}
        reply = await self._ask(line.Request("GET", _MODELS, headers, query))
        if reply.status == _NOT_MODIFIED and etag is not None:
            return None
        body = _json(_MODELS, reply)
        found = _understood("prices", lambda told: pricing.of_models(told, models), body)
        return found, reply.headers.get("etag")

    async def published(self, model: str) -> object:
        """Return the OpenAPI document that the provider serves for a model at present, as it came."""
        query = {"model": model, "endpoint": _GENERATIONS}
        return _json("/docs-json", await self._ask(line.Request("GET", "/docs-json", query=query)))

    def _note_odd(self, page: str, odd: tuple[OddRow, ...]) -> None:
        """Count rows that were skipped; the first of each kind is told."""
        for each in odd:
            _ODD.labels(page).inc()
            kind = f"{page}: {each.reason}"  # our own words, so there are few kinds
            if kind not in self._told:
                self._told.add(kind)
                log.warning(
                    "provider.odd_row", page=page, reason=each.reason, named=each.client_request_id
                )

    async def _get(self, path: str, query: Mapping[str, str], key: SecretStr | None) -> object:
        headers = {"Authorization": line.bearer(key or self._key)}
        return _json(path, await self._ask(line.Request("GET", path, headers, query)))

    async def _ask(self, request: line.Request) -> line.Reply:
        return await self._line.exchange(request, self._deadline)


def _json(path: str, reply: line.Reply) -> object:
    if reply.body is None:
        raise AccountUnavailable(f"{path}: {type(reply.failure).__name__}")
    if reply.status in _REFUSED:
        raise AccountRefused(f"{path}: HTTP status {reply.status}")
    if reply.status != _OK:
        raise AccountUnavailable(f"{path}: HTTP status {reply.status}")
    try:
        # Money is decimal: a balance must not be rounded on its way in.
        return json.loads(reply.body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise AccountUnavailable(f"{path}: not JSON") from None


def _written(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _understood(what: str, understand: Callable[[object], T], body: object) -> T:
    try:
        return understand(body)
    except ValueError as error:
        raise AccountUnavailable(f"{what}: {error}") from None


def _balance(body: object) -> Decimal:
    written = body.get("current_balance") if isinstance(body, dict) else None
    if isinstance(written, bool) or not isinstance(written, int | Decimal):
        raise ValueError("current_balance is not a number")  # noqa: TRY004 -- the sender's mistake
    balance = Decimal(written)
    if not balance.is_finite() or abs(balance) > _RICHEST:
        raise ValueError("current_balance is no amount that an account can have")
    return balance
