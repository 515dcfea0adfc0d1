"""`/v1/usage`, `/v1/ledger`, `/v1/quotes`: what was spent, line by line, and what a job would cost."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from api.contract.formats import spreadsheet
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import LEDGER, QUOTE, USAGE
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.jobs import QuoteBody, SubmitBody
from api.contract.requests.usage import LedgerQuery, UsageQuery
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Here, Reader, Reading, Usage
from api.dependencies.state import State
from api.submitting import submission
from models import ids
from models.errors import FieldError, InvalidRequest
from models.jobs import Submission
from models.money import bookings, prices, usage
from models.money.bookings import Selection
from models.money.dollars import usd
from models.money.usage import Period, Report, Sums, Value
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.schema import LedgerEntry

router = APIRouter(prefix="/v1", tags=["usage"], responses=REFUSALS, route_class=JsonRoute)

_EXPORT = 60.0  # seconds that each part of a file may wait for its turn
_BIGGEST = (1 << 63) - 1  # of the ledger's ids
_COLUMNS = (
    "at", "made_at", "job", "attempt", "kind", "credits", "usd", "key", "customer",
    "inference_id", "reference",
)  # fmt: skip


@router.get("/usage", responses=USAGE)
async def get_usage(caller: Usage, query: Annotated[UsageQuery, Query()], tx: Reading) -> Response:
    """Sum up jobs, attempts and credits. Rows by tag overlap; `totals` count everything once.

    Jobs count when they were submitted (and what they hold with them) and when they ended, attempts
    when they were sent, charges when the provider made them: one found late changes a day gone by.
    """
    period = query.period(await usage.now(tx))
    found = await usage.report(tx, caller.project_id, period, query.dimensions)
    return JsonAnswer(_report(query, period, found))


@router.get("/ledger", responses=LEDGER)
async def list_ledger(
    caller: Usage,
    query: Annotated[LedgerQuery, Query()],
    here: Here,
    accept: Annotated[
        str, Header(description="with `text/csv` the answer is a file of every line")
    ] = "",
) -> Response:
    """List the ledger's lines, the newest booking first. `from` and `to` choose by `made_at`, else `at`."""
    selection = query.selection(_read_cursor(query.cursor))
    if spreadsheet.wanted(query.format, accept):
        every = _rows(here, caller.project_id, selection)
        return await spreadsheet.stream(_COLUMNS, every, "ledger.csv")
    async with here.reports.open(caller.project_id) as tx:
        found, more = await bookings.lines(tx, caller.project_id, selection, query.limit)
    page: Json = {"object": "list", "data": [_line(each) for each in found], "has_more": more}
    cursor = _cursor(found[-1].id) if more else None
    return JsonAnswer(page | {"next_cursor": cursor}, headers={"vary": "Accept"})


@router.post("/quotes", responses=QUOTE)
async def quote_job(
    caller: Reader,
    body: QuoteBody,
    here: Here,
) -> Response:
    """Return what a job would cost, by the same rules as its submission. It binds nothing."""
    options = body.model_dump(exclude_unset=True)
    asked, _ = await submission.check(here, caller, SubmitBody(**options))
    await submission.demand_now(here, caller, asked)
    async with here.turns.open(caller.project_id) as tx:
        return JsonAnswer(await _quote(tx, asked))


def _report(query: UsageQuery, period: Period, found: Report) -> Json:
    by = query.dimensions
    overlapping = {"overlapping": True} if "tag" in by else {}
    return {
        "object": "usage",
        "from": time(period.start),
        "to": time(period.end),
        "tz": period.zone,
        "group_by": by,
        "data": [
            {name: _shown(value) for name, value in zip(by, group.values, strict=True)}
            | overlapping
            | _sums(group.sums)
            for group in found.groups
        ],
        "totals": _sums(found.totals),
    }


def _shown(value: Value) -> str | None:
    if isinstance(value, UUID):  # only keys are grouped by their id
        return ids.text(ids.KEY, value)
    return None if value is None else str(value)


def _sums(sums: Sums) -> Json:
    return {
        "jobs": {
            "submitted": sums.submitted,
            "succeeded": sums.succeeded,
            "failed": sums.failed,
            "canceled": sums.canceled,
            "expired": sums.expired,
        },
        "attempts": sums.attempts,
        "charged": _cost(sums.charged),
        "unknown": _cost(sums.unknown),
        "held": _cost(sums.held),
        "saved": _cost(sums.saved),
    }


def _cost(credits_: int) -> Json:
    return {"credits": credits_, "usd": usd(credits_)}


async def _rows(here: State, project_id: UUID, selection: Selection) -> AsyncIterator[list[Json]]:
    """Read every line of an export; each part of it waits for its turn."""
    opened = partial(here.reports.open, project_id, _EXPORT)
    async for page in bookings.pages(opened, project_id, selection):
        yield [_line(each) for each in page]


def _line(entry: LedgerEntry) -> Json:
    return {
        "at": time(entry.at),
        "made_at": time(entry.made_at),
        "job": ids.text(ids.JOB, entry.job_id),
        "attempt": entry.attempt,
        "kind": entry.kind,
        **_cost(entry.credits),
        "key": ids.text(ids.KEY, entry.key_id),
        "customer": entry.customer,
        "inference_id": entry.inference_id,
        "reference": entry.reference,
    }


def _cursor(last: int) -> str:
    return urlsafe_b64encode(last.to_bytes(8)).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        line = int.from_bytes(urlsafe_b64decode(cursor + "=="))
    except ValueError:
        line = 0
    if not 0 < line <= _BIGGEST or _cursor(line) != cursor.rstrip("="):
        message = "use `next_cursor` of the page before, as it came"
        raise InvalidRequest(
            f"The cursor {cursor!r} is none of ours: {message}.",
            errors=(FieldError("query:cursor", message),),
        )
    return line


async def _quote(tx: Transaction, asked: Submission) -> Json:
    price, source = await _price(tx, asked)
    most = 2 * price if asked.max_cost is None else asked.max_cost
    return {
        "object": "quote",
        "model": asked.model,
        "price": _cost(price) | {"per": "image", "source": source},
        "estimated": _cost(price),
        # Each attempt that may have been charged counts as one, and none begins beyond `max_cost`.
        "worst_case": _cost(min(most, asked.max_attempts * price)),
        "max_attempts": asked.max_attempts,
        "max_cost": most,
    }


async def _price(tx: Transaction, asked: Submission) -> tuple[int, str]:
    """Return the price that a submission would hold, and whether the provider taught it."""
    learned = await prices.current(tx, asked.model)
    return asked.estimate, "catalog" if learned is None else "provider"
