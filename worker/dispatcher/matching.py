"""Compares the account's own ledger with ours: money truth, whatever the log of requests says.

The ledger knows a call by its inference id alone, but it shows those of every key. So it tells what an
attempt cost whose answer named its inference and then broke, and it shows charges that are none of ours.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge
from sqlalchemy import func, select

from models import unmatched
from models.jobs import Verdict
from models.schema import Attempt
from models.unmatched import Charge
from worker.dispatcher.accounting import (
    Books,
    Duty,
    longest_call,
    reserve_request,
    resolve,
    spans,
)
from worker.provider import AccountUnavailable, TransactionRow

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Rows = Sequence[TransactionRow]

_DAY = timedelta(days=1)
_NAMED = 10  # charges that one log line names

_UNMATCHED = Gauge(
    "darkroom_provider_unmatched_charges",
    "Charges of the last day on the provider's account that belong to none of our attempts",
)


@dataclass(slots=True)
class Strangers:
    """The charges that are none of ours, as one dispatcher has seen them, and until when it looked."""

    until: datetime | None = None
    found: dict[str, Charge] = field(default_factory=dict)


async def settle(books: Books, attempts: Sequence[Attempt]) -> None:
    """Settle those of these attempts whose inference the account's ledger shows as charged.

    That it is not there proves nothing: whether a call was free is for the log to say.
    """
    named = [attempt for attempt in attempts if attempt.inference_id is not None]
    for span in spans(named, books.desk.settings):
        wanted = {attempt.inference_id: attempt for attempt in span.attempts}

        async def take(rows: Rows, wanted: dict[str | None, Attempt] = wanted) -> bool:
            for row in rows:
                attempt = wanted.pop(row.reference_id, None)
                if attempt is not None:
                    verdict = Verdict(row.credits, row.reference_id, row.created_at)
                    await resolve(books, attempt, verdict)
            return bool(wanted)

        if not await _read(books, "reconcile", span.start, span.end, take):
            return


async def turn(books: Books, strangers: Strangers) -> bool:
    """Look for charges of the last day that are none of ours; always False.

    Only for those that are older than the log's lag: by then a lost attempt knows its inference.
    """
    lag = books.desk.settings.log_lag
    async with books.desk.database.transaction() as tx:
        now = (await tx.execute(select(func.now()))).scalar_one()
        begun = await unmatched.begun_at(tx)
    if begun is None:
        return False
    # A charge may have landed late: the last stretch is read twice.
    since = now - _DAY if strangers.until is None else strangers.until - lag
    seen: list[Charge] = []

    async def take(rows: Rows) -> bool:
        seen.extend(await _unmatched(books, [_charge(row) for row in rows]))
        return True

    if not await _read(books, "unmatched", max(begun, since), now - lag, take):
        _UNMATCHED.set(0)  # another dispatcher shows it, or nobody knows
        return False
    # What was nobody's may have been claimed since.
    kept = [each for each in strangers.found.values() if each.at > now - _DAY]
    known = {each.reference: each for each in await _unmatched(books, kept)}
    _tell([each for each in seen if each.reference not in known])
    strangers.found = known | {each.reference: each for each in seen}
    strangers.until = now - lag
    _UNMATCHED.set(len(strangers.found))
    return False


async def _read(
    books: Books,
    duty: Duty,
    since: datetime,
    until: datetime,
    take: Callable[[Rows], Awaitable[bool]],
) -> bool:
    """Page through the account's charges until `take` has enough; False when it could not be done."""
    cursor: str | None = None
    while since < until:
        if not await reserve_request(books, duty):
            return False
        try:
            page = await books.provider.account.transactions(since, until, cursor)
        except AccountUnavailable as failed:
            log.warning("matching.later", duty=duty, reason=str(failed))
            return False
        cursor = page.next_cursor
        if not await take(page.rows) or cursor is None:
            break
    return True


async def _unmatched(books: Books, charges: Sequence[Charge]) -> list[Charge]:
    async with books.desk.database.transaction() as tx:
        return await unmatched.unmatched(tx, charges, longest=longest_call(books.desk.settings))


def _charge(row: TransactionRow) -> Charge:
    # A charge without a reference is nobody's for certain; its moment tells it from others.
    return Charge(row.reference_id or f"at {row.created_at}", row.credits, row.created_at)


def _tell(fresh: Sequence[Charge]) -> None:
    if fresh:
        log.warning(
            "charges.unmatched",
            charges=len(fresh),
            credits=sum(each.credits for each in fresh),
            inference_ids=[each.reference for each in fresh[:_NAMED]],
        )
