"""Compares the account's own ledger with ours: money truth for every attempt, whatever else was said.

The ledger is read on from where it was read last (`statements`), with a stretch read again: a line may be
shown later than it was written. A line that names no inference of ours may still be ours: it is paired with
a call by amount and time where that is unambiguous. What is left is counted: charges that are nobody's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Gauge
from sqlalchemy import func, select

from models import jobs
from models.coordination import aside
from models.money import statement
from models.platform.db import Transaction
from models.schema import AccountLine, Attempt
from worker.dispatcher.account import statements
from worker.dispatcher.account.accounting import APART, AccountReader, corrected, longest_call
from worker.dispatcher.account.pairing import Candidate, pair
from worker.dispatcher.rows import one_by_one

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DAY, _AHEAD = timedelta(days=1), timedelta(hours=1)
_NAMED = 10  # charges that one log line names
_BATCH = 500  # lines and attempts that are paired at once

_UNMATCHED = Gauge(
    "darkroom_provider_unmatched_charges",
    "Charges of the last day on the provider's account that belong to none of our attempts",
)
_UNMATCHED_OTHERS = Gauge(
    "darkroom_provider_unmatched_corrections",
    "Refunds and adjustments of the last day there that belong to none of our attempts",
)
_UNCONFIRMED = Metric(
    "darkroom_charges_unconfirmed",
    "Charges of ours that the account's ledger does not show, though an unmatched one may be theirs",
)


@dataclass(slots=True)
class Reported:
    """The unmatched lines that this dispatcher has already written to its log."""

    told: set[int] = field(default_factory=set)


async def run(reader: AccountReader, reported: Reported) -> bool:
    """Read the account's ledger on, correct our books by it, count what is nobody's; always False."""
    settings = reader.dispatcher.settings
    async with reader.dispatcher.database.transaction() as tx:
        now = (await tx.execute(select(func.now()))).scalar_one()
        begun, done = await statement.begun_at(tx), await statement.mark(tx, statement.DUTY)
    if begun is None:
        _show(None)  # before our first call no charge is looked at
        return False
    # A line may be shown four times the lag after it was written, as a row of the log may.
    again = 4 * settings.log_lag + APART
    since = max(begun - APART, (now - _DAY if done is None else done) - again)
    newest = await statements.read(reader, "statement", since, now + _AHEAD)
    if newest is None:
        _show(None)  # another dispatcher shows it, or nobody knows
        return False
    await _look_again(reader, since - longest_call(settings))
    await explain(reader, now)
    await _write_off(reader, now, newest)
    async with reader.dispatcher.database.transaction() as tx:
        await statement.set_mark(tx, statement.DUTY, now)
        counted = now - settings.log_lag - longest_call(settings)
        found = await statement.nobodys(tx, now - _DAY, counted, limit=_BATCH)
        _show(await statement.unmatched(tx, now - _DAY, counted))
    _tell([each for each in found if each.id not in reported.told])
    reported.told = {each.id for each in found}
    return False


async def explain(reader: AccountReader, now: datetime) -> None:
    """Find the attempts of charges that name no inference of ours, by amount and time, and book them.

    First those that we know to have been charged, then those that may have been, then those believed free.
    These last only if it leaves no such charge over: else somebody else uses the account, and it may be
    theirs. And nothing is guessed near a call of which the log, which names calls, was not asked in time.
    """
    settings, paired = reader.dispatcher.settings, dict[UUID, int]()
    known = now - settings.log_lag - longest_call(settings)  # until then its log will tell by name
    async with reader.dispatcher.database.transaction() as tx:
        found = await statement.nobodys(tx, now - _DAY, known, limit=_BATCH)
        # First those that a call names since they were read, however long ago that was.
        await statements.attribute(reader, tx, [each.id for each in found])
        found = await statement.nobodys(tx, now - _DAY, known, limit=_BATCH)
        lines = [
            each
            for each in found
            if each.kind == "MODEL_USAGE" and each.reference not in reader.foreign
        ]
        if not lines:
            return
        first, last = lines[0].at - longest_call(settings) - APART, lines[-1].at + APART
        calls = await statement.unnamed(tx, first, min(last, known), limit=_BATCH)
        if _BATCH not in (len(found), len(calls)):
            paired = {attempt.id: line.id for line, attempt in _pairs(reader, lines, calls)}

    async def assign(tx: Transaction, attempt_id: UUID) -> None:
        await statement.assign(tx, paired[attempt_id], attempt_id)

    await one_by_one(reader.dispatcher, "correct", list(paired), assign)
    await statements.book(reader)


def _pairs(
    reader: AccountReader, lines: Sequence[AccountLine], calls: Sequence[Attempt]
) -> list[tuple[AccountLine, Attempt]]:
    after = longest_call(reader.dispatcher.settings) + APART
    left = _by_inference(lines)
    found: list[tuple[AccountLine, Attempt]] = []

    def fits(line: Candidate[AccountLine], call: Attempt) -> bool:
        amount = call.hold if call.credits is None else call.credits
        near = call.sent_at - APART <= line.at <= call.sent_at + after
        return near and line.shown.credits == amount

    for charges in (
        ("settled",),
        ("settled", "unknown"),
        ("settled", "unknown", "released", "none"),
    ):
        done = {attempt.id for _, attempt in found}
        some = [
            each
            for each in calls
            if each.id not in done and (each.charge in charges or each.finished_at is None)
        ]
        told = pair(left, some, fits, _may_be_named).found
        pairs = [(line.shown, attempt) for line, attempt in told]
        taken = {line.id for line, _ in pairs}
        rest = [each for each in left if each.shown.id not in taken]
        if "none" in charges:
            strange = {each.shown.credits for each in rest}
            pairs = [each for each in pairs if each[0].credits not in strange]
        found, left = found + pairs, rest
    return found


def _by_inference(lines: Sequence[AccountLine]) -> list[Candidate[AccountLine]]:
    """Show what is charged for one inference as one: by its first line, at the cost of all of them."""
    first, cost = dict[str, AccountLine](), Counter[str]()
    for each in lines:
        name = each.reference or str(each.id)
        first.setdefault(name, each)
        cost[name] += each.credits
    return [Candidate(line.at, cost[name], line) for name, line in first.items()]


def _may_be_named(call: Attempt) -> bool:
    """Return whether a call may yet be named: by its end, or by the log, which was not asked in time."""
    return call.finished_at is None or (call.charge == "unknown" and call.absent_at is None)


async def _look_again(reader: AccountReader, since: datetime) -> None:
    """Look for the attempts of lines that were nobody's: their calls may have ended since."""
    async with reader.dispatcher.database.transaction() as tx:
        found = await statement.nobodys(tx, since, since + 10 * _DAY, limit=20 * _BATCH)
        await statements.attribute(reader, tx, [each.id for each in found])
    await statements.book(reader)


async def _write_off(reader: AccountReader, now: datetime, newest: datetime) -> None:
    """Take back charges of ours that the account's ledger does not show, where it has gone on since.

    Not at the first look: the ledger is read around them once more. A line of nobody's with their amount
    near them may be theirs, whatever it names: they are judged again for a day, until it is somebody's,
    and then they stay.
    """
    settings = reader.dispatcher.settings
    over = longest_call(settings) + APART
    until = min(now - over - 4 * settings.log_lag, newest - over)
    async with reader.dispatcher.database.transaction() as tx:
        judged = await statement.mark(tx, statement.JUDGED) or now - _DAY
        missing = await statement.uncharged(tx, judged, until, limit=_BATCH)
    if missing and not await statements.around(reader, missing):
        return
    if missing:
        async with reader.dispatcher.database.transaction() as tx:
            missing = await statement.uncharged(tx, judged, until, limit=_BATCH)
            strange = await statement.nobodys(
                tx, judged - APART, until + over + _DAY, limit=20 * _BATCH
            )
        doubtful = [each for each in missing if maybe_of(each, strange, over)]
        later = [each.sent_at for each in doubtful if each.sent_at > now - _DAY]
        _UNCONFIRMED.inc(len(doubtful) - len(later))
        failed = await _reverse(reader, [each.id for each in missing if each not in doubtful])
        later += [
            each.sent_at for each in missing if each.id in failed and each.sent_at > now - _DAY
        ]
        until = min([until, *later])
    if until > judged and len(missing) < _BATCH:
        async with reader.dispatcher.database.transaction() as tx:
            await statement.set_mark(tx, statement.JUDGED, until)


async def _reverse(reader: AccountReader, sure: Sequence[UUID]) -> set[UUID]:
    """Reverse what was booked for these attempts; returns those for which that cannot be done now."""
    async with reader.dispatcher.database.transaction() as tx:
        aside_ = await aside.among(tx, "correct", sure)
    told = await one_by_one(
        reader.dispatcher,
        "correct",
        [each for each in sure if each not in aside_],
        lambda tx, each: jobs.write_off(tx, reader.dispatcher.presenter, each),
    )
    for each in told:
        corrected(each, by="absence")
    async with reader.dispatcher.database.transaction() as tx:
        return await aside.among(tx, "correct", sure)


def maybe_of(attempt: Attempt, strange: Sequence[AccountLine], over: timedelta) -> bool:
    """Return whether a line of nobody's may be an attempt's, by its amount and time."""
    amount = attempt.hold if attempt.credits is None else attempt.credits
    return any(
        each.credits == amount and attempt.sent_at - APART <= each.at <= attempt.sent_at + over
        for each in strange
    )


def _show(counted: dict[str, int] | None) -> None:
    found = dict(counted or {})
    _UNMATCHED.set(found.pop("MODEL_USAGE", 0))
    _UNMATCHED_OTHERS.set(sum(found.values()))


def _tell(fresh: Sequence[AccountLine]) -> None:
    if fresh:
        log.warning(
            "charges.unmatched",
            charges=len(fresh),
            credits=sum(each.credits for each in fresh),
            kinds=sorted({each.kind for each in fresh}),
            inference_ids=[each.reference for each in fresh[:_NAMED]],
        )
