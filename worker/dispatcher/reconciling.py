"""Finds out what lost calls cost, from the provider's log of requests.

One page settles many attempts: whatever rows it shows are matched against every attempt of ours whose
charge is open. The log lags, so "not there" is believed only twice: when an attempt is absent at the
lag and again at four times the lag, with newer rows present. What was believed free is looked for again
for a day. Offset paging over a list that grows at its head shows a row twice rather than never.

What the log does not tell, the account's ledger may (`matching`).
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pydantic import SecretStr
from sqlalchemy import func, select

from models import jobs
from models.jobs import Verdict
from models.schema import Attempt
from models.settings import Settings
from worker.dispatcher import matching
from worker.dispatcher.accounting import (
    Books,
    known_keys,
    longest_call,
    reserve_request,
    resolve,
    spans,
)
from worker.provider import AccountUnavailable, LogRow

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 10_000
_PAGE = 100
_FAILURES = 3  # unanswered pages after which a turn asks with that key no more


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the log in which attempts must be, if they are anywhere.

    `keys` are those of ours that the attempts may have used: the log shows each only its own requests.
    """

    prefix: str
    keys: tuple[SecretStr, ...]
    start: datetime
    end: datetime
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the log of a window's keys showed: which of the attempts, and the newest row."""

    client_request_ids: frozenset[str]
    newest: datetime | None


async def turn(books: Books) -> bool:
    """Look for every unknown charge once; always False: what is not there yet takes time."""
    async with books.desk.database.transaction() as tx:
        # By the database's clock, as `sent_at` is; and from before the log is read.
        now = (await tx.execute(select(func.now()))).scalar_one()
        unknown = await jobs.unknown_charges(tx, limit=_BATCH)
    await _look(books, unknown, now)
    async with books.desk.database.transaction() as tx:
        unknown = await jobs.unknown_charges(tx, limit=_BATCH)
    await matching.settle(books, unknown)
    return False


async def recheck(books: Books) -> bool:
    """Look again for what was believed free: a row that turns up late settles it; always False."""
    async with books.desk.database.transaction() as tx:
        free = await jobs.believed_free(tx, limit=_BATCH)
    await _look(books, free, None)
    return False


def windows(settings: Settings, attempts: Sequence[Attempt]) -> Iterator[Window]:
    """Group attempts by the key they used and by time, so that few pages cover many."""
    keys = known_keys(settings)
    by_key: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_key.setdefault(attempt.key_prefix, []).append(attempt)
    for prefix, made in by_key.items():
        if prefix not in keys:
            log.warning("reconcile.key_unknown", key_prefix=prefix, attempts=len(made))
            continue
        for span in spans(made, settings):
            yield Window(prefix, keys[prefix], span.start, span.end, span.attempts)


async def _look(books: Books, attempts: Sequence[Attempt], now: datetime | None) -> None:
    """Read the log around these attempts, settling as it goes; at `now`, judge what it does not show."""
    found = list(windows(books.desk.settings, attempts))
    # A long way through the log may be broken off: in another order each time, none waits for ever.
    random.shuffle(found)
    failures: Counter[str] = Counter()
    for window in found:
        if failures[window.prefix] >= _FAILURES:
            continue
        try:
            seen = await _read(books, window)
        except AccountUnavailable as failed:
            failures[window.prefix] += 1
            log.warning("reconcile.later", reason=str(failed), attempts=len(window.attempts))
            continue
        if seen is None:
            return
        if now is not None:
            await _judge_absent(books, window, seen, now)


async def _read(books: Books, window: Window) -> Seen | None:
    """Page through a window with each of its keys; None when another dispatcher took the duty over."""
    wanted = {attempt.client_request_id for attempt in window.attempts}
    seen, newest = set[str](), list[datetime]()
    for key in window.keys:
        offset, more = 0, True
        while more:
            if not await reserve_request(books, "reconcile"):
                return None
            page = await books.provider.account.logs(
                window.start, window.end, _PAGE, offset, key=key
            )
            await _settle(books, page.rows)
            seen |= wanted & {row.client_request_id or "" for row in page.rows}
            newest += [max(row.created for row in page.rows)] if page.rows else []
            offset, more = offset + page.length, page.has_more and page.length > 0
    return Seen(frozenset(seen), max(newest, default=None))


async def _settle(books: Books, rows: Sequence[LogRow]) -> None:
    # Should the log show a call twice, the row that was charged has the last word.
    in_order = sorted(rows, key=lambda row: row.status == "succeeded")
    said = {row.client_request_id: row for row in in_order if row.client_request_id}
    async with books.desk.database.transaction() as tx:
        found = await jobs.open_charges(tx, list(said))
    for attempt in found:
        row = said[attempt.client_request_id]
        verdict = Verdict(
            credits=row.credits if row.status == "succeeded" else None,
            inference_id=row.inference_id,
            made_at=row.created,
        )
        await resolve(books, attempt, verdict)


async def _judge_absent(books: Books, window: Window, seen: Seen, now: datetime) -> None:
    """Believe "not there" at the lag and again at four times the lag, if newer rows are there."""
    settings = books.desk.settings
    # The log lags behind a call's end, and a call whose worker died goes on at the provider.
    lag, longest = settings.log_lag, longest_call(settings)
    due = [
        attempt
        for attempt in window.attempts
        if attempt.client_request_id not in seen.client_request_ids
        and now - attempt.sent_at - longest >= (lag if attempt.absent_at is None else 4 * lag)
    ]
    newest = await _newest(books, window, seen, due)
    absent = [attempt for attempt in due if newest is not None and newest > attempt.sent_at]
    if fresh := [attempt for attempt in absent if attempt.absent_at is None]:
        async with books.desk.database.transaction() as tx:
            await jobs.note_absent(tx, fresh)
    for attempt in absent:
        if attempt.absent_at is not None and now - attempt.absent_at >= lag:
            await resolve(books, attempt, Verdict(credits=None))


async def _newest(
    books: Books, window: Window, seen: Seen, due: Sequence[Attempt]
) -> datetime | None:
    """Give the newest row that proves that the log has gone on, in the window or since.

    On a quiet account the next call may come hours later.
    """
    if not due or (seen.newest is not None and seen.newest > max(each.sent_at for each in due)):
        return seen.newest
    newest = [] if seen.newest is None else [seen.newest]
    until = max(window.end, datetime.now(UTC))
    for key in window.keys:
        if not await reserve_request(books, "reconcile"):
            break
        try:
            page = await books.provider.account.logs(window.end, until, _PAGE, key=key)
        except AccountUnavailable as failed:
            log.warning("reconcile.later", reason=str(failed), attempts=len(due))
            break
        newest += [row.created for row in page.rows]
    return max(newest, default=None)
