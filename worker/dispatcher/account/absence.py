"""When "it is not there" is believed of a call whose answer was lost.

The log lags behind a call's end, and a call whose worker died goes on at the provider. So an absence is
noted a lag after the longest that the call can have taken, and believed at another look, a lag later at
least:

    two lags after the end     where the log shows calls of ours that were sent later, by our own clock:
                               what was written in between has come through
    four lags                  where it only shows newer rows of others, or where the account's ledger has
                               a charge near it, of this amount, that is nobody's
    never                      where the log shows nothing newer, or a row without a name that may be it

Both books are asked: the account's ledger is read around the call before it is released.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Gauge
from pydantic import SecretStr

from models import jobs
from models.jobs import Verdict
from models.money import statement
from models.platform.db import Transaction
from models.schema import Attempt
from worker.dispatcher.account import matching, statements
from worker.dispatcher.account.accounting import (
    APART,
    MARGIN,
    AccountReader,
    longest_call,
    reserve_request,
    resolve,
)
from worker.dispatcher.rows import all_at_once
from worker.provider import AccountUnavailable, LogRow

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_PAGE = 100
_CONTESTED = Gauge(
    "darkroom_charges_contested",
    "Lost calls for which the provider's log has a row without a name that may be another's",
)


@dataclass(slots=True)
class News:
    """How far the log is: its newest row, and the last call of ours that it shows, by our clock."""

    newest: datetime | None = None
    ours: datetime | None = None

    def after(self, moment: datetime) -> bool:
        """Return whether the log shows anything newer."""
        return any(each is not None and each > moment for each in (self.newest, self.ours))

    def ours_after(self, moment: datetime) -> bool:
        """Return whether the log shows calls of ours that were sent later."""
        return self.ours is not None and self.ours > moment


@dataclass(frozen=True, slots=True)
class Looked:
    """What was read of the log, with which keys, and how far it was."""

    keys: Sequence[SecretStr]
    start: datetime
    end: datetime
    news: News


async def learn(reader: AccountReader, news: News, rows: Sequence[LogRow]) -> dict[str, Attempt]:
    """Learn from rows how far the log is and what its clock shows; returns the attempts that they name."""
    created = {row.client_request_id: row.created for row in rows if row.client_request_id}
    async with reader.dispatcher.database.transaction() as tx:
        found = await jobs.named(tx, created.keys()) if created else []
    for attempt in found:
        reader.skew.learn(attempt.sent_at, created[attempt.client_request_id])
    ours = {attempt.client_request_id for attempt in found}
    for row in rows:
        if row.client_request_id and row.client_request_id not in ours and row.inference_id:
            reader.note_foreign(row.inference_id)
    shown = [row.created - reader.skew.hi for row in rows]
    newest = [each for each in shown if each < datetime.now(UTC) + APART]  # nothing is logged ahead
    news.newest = max([*newest, *([] if news.newest is None else [news.newest])], default=None)
    sent = [attempt.sent_at for attempt in found]
    news.ours = max([*sent, *([] if news.ours is None else [news.ours])], default=None)
    return {attempt.client_request_id: attempt for attempt in found}


async def judge(
    reader: AccountReader,
    looked: Looked,
    missing: Sequence[Attempt],
    contested: Collection[Attempt],
    now: datetime,
) -> None:
    """Note or believe that these attempts are not in the log; a row may be that of a contested one."""
    news, lag = looked.news, reader.dispatcher.settings.log_lag
    _CONTESTED.set(len(contested))
    held_back = {each.id for each in contested}
    due = [
        each
        for each in missing
        if _over(reader, each, now) >= lag and _covered(reader, each, looked.start)
    ]
    if due and not news.ours_after(max(each.sent_at for each in due)):
        await _look_further(reader, looked, len(due))
    absent = [each for each in due if news.after(each.sent_at)]
    if fresh := [each for each in absent if each.absent_at is None]:
        await _note(reader, fresh)
    again = [
        each
        for each in absent
        if each.absent_at is not None
        and each.id not in held_back
        and now - each.absent_at >= lag
        and _over(reader, each, now) >= (2 if news.ours_after(each.sent_at) else 4) * lag
    ]
    if again and await statements.around(reader, again):
        await matching.explain(reader, now)
        await _release(reader, again, now)


async def _note(reader: AccountReader, fresh: Sequence[Attempt]) -> None:
    async def note(tx: Transaction, only: UUID | None) -> int:
        return await jobs.note_absent(tx, [each for each in fresh if only in (None, each.id)])

    async def all_(_tx: Transaction) -> list[UUID]:
        return [each.id for each in fresh]

    await all_at_once(reader.dispatcher, "reconcile", note, all_)


async def _release(reader: AccountReader, attempts: Sequence[Attempt], now: datetime) -> None:
    over = longest_call(reader.dispatcher.settings) + APART
    first, last = min(each.sent_at for each in attempts), max(each.sent_at for each in attempts)
    async with reader.dispatcher.database.transaction() as tx:
        strange = await statement.nobodys(tx, first - APART, last + over, limit=_PAGE)
    for each in attempts:
        waited = _over(reader, each, now) >= 4 * reader.dispatcher.settings.log_lag
        if waited or not matching.maybe_of(each, strange, over):
            await resolve(reader, each, Verdict(credits=None))


def _over(reader: AccountReader, attempt: Attempt, now: datetime) -> timedelta:
    """Return how long ago a call must have ended."""
    return now - attempt.sent_at - longest_call(reader.dispatcher.settings)


def _covered(reader: AccountReader, attempt: Attempt, start: datetime) -> bool:
    """Return whether what was read began early enough, by what is known of the provider's clock now."""
    return start <= attempt.sent_at + reader.skew.lo - MARGIN / 2


async def _look_further(reader: AccountReader, looked: Looked, waiting: int) -> None:
    """Look for rows since that prove that the log has gone on.

    On a quiet account the next call may come hours later.
    """
    until = max(looked.end, datetime.now(UTC) + APART)
    for key in looked.keys:
        if not await reserve_request(reader, "reconcile"):
            return
        try:
            page = await reader.provider.account.logs(looked.end, until, _PAGE, key=key)
        except AccountUnavailable as failed:
            log.warning("reconcile.postponed", reason=str(failed), attempts=waiting)
            return
        await learn(reader, looked.news, page.rows)
