"""Finds out what lost calls cost, from the provider's log of requests and the account's own ledger.

One page settles many attempts: whatever rows it shows are matched against every attempt of ours whose
charge is open. A row that says `failed` is believed when the account's ledger does not charge the call; one
that says `failed` and names a cost says nothing. What neither shows was never charged: when that is
believed stands in `absence`. What was believed free is looked for again for a day. Offset paging over a
list that grows at its head shows a row twice rather than never.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from pydantic import SecretStr
from sqlalchemy import func, select

from models import jobs
from models.jobs import Verdict
from models.schema import Attempt
from worker.dispatcher.account import absence, statements
from worker.dispatcher.account.accounting import (
    AccountReader,
    identify,
    known_keys,
    reserve_request,
    resolve,
    spans,
)
from worker.dispatcher.account.pairing import Candidate, pair
from worker.dispatcher.account.walking import LOST, Walk
from worker.provider import AccountUnavailable, LogRow, OddRow

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 10_000
_PAGE = 100
_FAILURES = 3  # unanswered pages after which a turn asks with that key no more
_ANONYMOUS = 500  # rows without our name that a window is searched for
_NEAR = timedelta(seconds=10)  # from a call's beginning to its row's


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


@dataclass(slots=True)
class Seen:
    """What the log of a window's keys has shown; attempts go by their `client_request_id`."""

    decided: set[str] = field(default_factory=set)
    failed: dict[str, LogRow] = field(default_factory=dict)
    anonymous: dict[str, LogRow] = field(default_factory=dict)  # by their inferences
    news: absence.News = field(default_factory=absence.News)


async def run(reader: AccountReader) -> bool:
    """Look for every unknown charge once; always False: what is not there yet takes time."""
    async with reader.dispatcher.database.transaction() as tx:
        # By the database's clock, as `sent_at` is; and from before the log is read.
        now = (await tx.execute(select(func.now()))).scalar_one()
        unknown = await jobs.unknown_charges(tx, limit=_BATCH)
    await _look(reader, unknown, now)
    async with reader.dispatcher.database.transaction() as tx:
        unknown = await jobs.unknown_charges(tx, limit=_BATCH)
    await statements.around(reader, [each for each in unknown if each.inference_id is not None])
    return False


async def recheck(reader: AccountReader) -> bool:
    """Look again for what was believed free: a row that turns up late settles it; always False."""
    async with reader.dispatcher.database.transaction() as tx:
        free = await jobs.believed_free(tx, limit=_BATCH)
    await _look(reader, free, None)
    return False


def windows(reader: AccountReader, attempts: Sequence[Attempt]) -> Iterator[Window]:
    """Group attempts by the key they used and by time, so that few pages cover many."""
    keys = known_keys(reader.dispatcher.settings)
    by_key: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_key.setdefault(attempt.key_prefix, []).append(attempt)
    for prefix, made in by_key.items():
        if prefix not in keys:
            log.warning("reconcile.key_unknown", key_prefix=prefix, attempts=len(made))
            continue
        for span in spans(made, reader):
            yield Window(prefix, keys[prefix], span.start, span.end, span.attempts)


async def _look(reader: AccountReader, attempts: Sequence[Attempt], now: datetime | None) -> None:
    """Read the log around these attempts, settling as it goes; at `now`, judge what it does not show."""
    found = list(windows(reader, attempts))
    # A long way through the log may be broken off: in another order each time, none waits for ever.
    random.shuffle(found)
    failures: Counter[str] = Counter()
    for window in found:
        if failures[window.prefix] >= _FAILURES:
            continue
        try:
            seen = await _read(reader, window)
        except AccountUnavailable as failed:
            failures[window.prefix] += 1
            log.warning("reconcile.postponed", reason=str(failed), attempts=len(window.attempts))
            continue
        if seen is None:
            return
        contested = await _take_anonymous(reader, window, seen)
        await _take_failed(reader, window, seen)
        if now is not None:
            left = [each for each in window.attempts if each.client_request_id not in seen.decided]
            looked = absence.Looked(window.keys, window.start, window.end, seen.news)
            await absence.judge(reader, looked, left, contested, now)


async def _read(reader: AccountReader, window: Window) -> Seen | None:
    """Page through a window with each of its keys; None when another dispatcher took the duty over."""
    seen = Seen()
    for key in window.keys:
        offset, more, walk = 0, True, Walk(0)
        while more:
            if not await reserve_request(reader, "reconcile"):
                return None
            page = await reader.provider.account.logs(
                window.start, window.end, _PAGE, offset, key=key
            )
            await _take(reader, window, seen, page.rows)
            await _identify(reader, page.odd)
            offset, more = offset + page.length, page.has_more
            if more and not walk.leads_on((*page.rows, *page.odd), offset):
                raise AccountUnavailable(LOST)
    return seen


async def _take(reader: AccountReader, window: Window, seen: Seen, rows: Sequence[LogRow]) -> None:
    """Settle what these rows show as charged; what they say else is kept for when all were read."""
    named = await absence.learn(reader, seen.news, rows)
    by_inference = {each.inference_id: each for each in window.attempts if each.inference_id}
    # Should the log show a call twice, the row that was charged has the last word.
    for row in sorted(rows, key=lambda each: each.status == "succeeded"):
        attempt = named.get(row.client_request_id or "") or by_inference.get(row.inference_id or "")
        if attempt is not None:
            await _decide(reader, seen, attempt, row)
        elif row.client_request_id is None and len(seen.anonymous) < _ANONYMOUS:
            seen.anonymous[row.inference_id or f"at {row.created}"] = row


async def _identify(reader: AccountReader, rows: Sequence[OddRow]) -> None:
    """Learn from rows that cannot be read which inferences our calls were: the ledger tells the rest."""
    told = {each.client_request_id: each.inference_id for each in rows if each.client_request_id}
    async with reader.dispatcher.database.transaction() as tx:
        found = await jobs.named(tx, told.keys()) if told else []
    for attempt in found:
        if (inference_id := told[attempt.client_request_id]) is not None:
            await identify(reader, attempt, inference_id)


async def _decide(reader: AccountReader, seen: Seen, attempt: Attempt, row: LogRow) -> None:
    name = attempt.client_request_id
    if row.status == "succeeded":
        seen.decided.add(name)
        seen.failed.pop(name, None)
        if jobs.open_charge(attempt):
            await resolve(reader, attempt, Verdict(row.credits, row.inference_id, row.created))
    elif row.credits and row.inference_id is not None:
        await identify(reader, attempt, row.inference_id)
    elif not row.credits and name not in seen.decided:
        seen.failed[name] = row


async def _take_anonymous(reader: AccountReader, window: Window, seen: Seen) -> Sequence[Attempt]:
    """Find the attempts of rows that name nobody, by their time; returns those that may be one's.

    Only where the log shows them: what a stranger called with our key, and a call of ours, look alike. So
    does a call that is under way still, if its worker has died: its end will name it.
    """
    missing = [
        each
        for each in window.attempts
        if each.client_request_id not in seen.decided | seen.failed.keys()
    ]
    if not missing or not seen.anonymous or len(seen.anonymous) >= _ANONYMOUS:
        return ()
    async with reader.dispatcher.database.transaction() as tx:
        known = await jobs.inferences(tx, seen.anonymous, window.start - _NEAR, window.end)
        others = await jobs.under_way(tx, window.prefix, window.start - _NEAR, window.end)
    rows = [
        Candidate(row.created, row.credits if row.status == "succeeded" else None, row)
        for id_, row in seen.anonymous.items()
        if id_ not in known
    ]
    first, last = reader.skew.lo - _NEAR, reader.skew.hi + _NEAR

    def fits(row: Candidate[LogRow], call: Attempt) -> bool:
        return call.sent_at + first <= row.at <= call.sent_at + last

    pairs = pair(rows, [*missing, *others], fits, lambda each: each.finished_at is None)
    for row, attempt in pairs.found:
        await _decide(reader, seen, attempt, row.shown)
    paid = [each for each in rows if each.shown.status == "succeeded"]
    doubtful = [each for each in pairs.contested if each.finished_at is not None]
    return [each for each in doubtful if any(fits(row, each) for row in paid)]


async def _take_failed(reader: AccountReader, window: Window, seen: Seen) -> None:
    """Release what the log shows as failed, unless the account's ledger charges it all the same."""
    ours = {each.client_request_id: each for each in window.attempts}
    failed: Mapping[str, LogRow] = {
        name: row for name, row in seen.failed.items() if name not in seen.decided and name in ours
    }
    if not failed or not await statements.around(reader, [ours[name] for name in failed]):
        return
    for name, row in failed.items():
        seen.decided.add(name)
        await resolve(reader, ours[name], Verdict(None, row.inference_id, row.created))
