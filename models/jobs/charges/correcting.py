"""A charge that is booked is brought in line with what the account's own ledger says."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from models.jobs.attempts import booking
from models.jobs.changes.moving import lock
from models.jobs.running.answering import after_resolved, tell_resolved
from models.jobs.view import Presenter
from models.money import ledger, prices, statement
from models.money.ledger import Entry
from models.money.statement import Line
from models.platform.db import Transaction
from models.schema import AccountLine, Attempt, Job, LedgerEntry

_CORRECTIONS = ("refund", "adjustment")


@dataclass(frozen=True, slots=True)
class Correction:
    """What was wrong with an attempt: what was booked before, and what the account's ledger says."""

    client_request_id: str
    charge: str
    before: int
    after: int


async def correct(tx: Transaction, presenter: Presenter, attempt_id: UUID) -> Correction | None:
    """Book what the lines of the account's ledger say of an attempt, and tell it; None when all is right.

    What was unknown is charged. What was booked otherwise is adjusted, up or down; refunds and adjustments
    are booked one by one. A call that is under way still brings its own answer.
    """
    found = await _locked(tx, attempt_id)
    await statement.note_booked(tx, attempt_id)
    if found is None:
        return None
    job, attempt = found
    lines = await statement.of(tx, attempt_id)
    usage = [each for each in lines if each.kind == "MODEL_USAGE"]
    if not usage:
        return None
    before, was = attempt.credits or 0, attempt.charge
    first = usage[0]
    resolved = await booking.resolve(
        tx, job, attempt,
        credits_=first.credits, inference_id=first.reference, made_at=first.at,
    )  # fmt: skip
    if resolved is not None:
        attempt, job = resolved
    entries = await _entries(tx, attempt, lines)
    if resolved is None and not entries:
        return None
    attempt, job = await booking.adjust(tx, job, attempt, entries, made_at=first.at)
    job = await tell_resolved(tx, presenter, job)
    if was == "unknown":
        await after_resolved(tx, presenter, job, paid=(attempt.credits or 0) > 0)
    if resolved is None and len(lines) == 1:  # nothing but what the call cost
        await prices.observe(tx, job.model, attempt)
    return Correction(attempt.client_request_id, was, before, attempt.credits or 0)


async def write_off(tx: Transaction, presenter: Presenter, attempt_id: UUID) -> Correction | None:
    """Reverse what was booked for an attempt that the account's ledger does not charge at all.

    None when it does by now, or nothing is booked.
    """
    found = await _locked(tx, attempt_id)
    if found is None or await statement.of(tx, attempt_id):
        return None
    job, attempt = found
    before = attempt.credits or 0
    if not before:
        return None
    name = await _fresh(tx, attempt, "not charged")
    entry = ledger.adjustment(attempt.number, -before, attempt.inference_id, name)
    attempt, job = await booking.adjust(tx, job, attempt, [entry])
    await tell_resolved(tx, presenter, job)
    return Correction(attempt.client_request_id, "settled", before, 0)


async def _locked(tx: Transaction, attempt_id: UUID) -> tuple[Job, Attempt] | None:
    """Lock the job's row, and read the attempt as it then is; return None while its call is under way."""
    job_id = await tx.scalar(select(Attempt.job_id).where(Attempt.id == attempt_id))
    if job_id is None:
        return None
    job = await lock(tx, job_id)
    ended = select(Attempt).where(Attempt.id == attempt_id, Attempt.finished_at.is_not(None))
    attempt = (await tx.scalars(ended)).one_or_none()
    return None if attempt is None else (job, attempt)


async def _entries(tx: Transaction, attempt: Attempt, lines: Sequence[AccountLine]) -> list[Entry]:
    """Return what is to be booked so that the attempt's sum is that of its lines."""
    booked = await _references(tx, attempt)
    entries: list[Entry] = []
    for each, name in _named(lines):
        if each.kind == "MODEL_USAGE" or name in booked or not each.credits:
            continue
        make = ledger.refund if each.kind == "REFUND" else ledger.adjustment
        entries.append(make(attempt.number, each.credits, each.reference, name, each.at))
    ours = (attempt.credits or 0) + sum(each.credits for each in entries)
    rest = sum(each.credits for each in lines) - ours
    if rest:
        last = [each for each in lines if each.kind == "MODEL_USAGE"][-1]
        name = await _fresh(tx, attempt, _name(last))
        entries.append(ledger.adjustment(attempt.number, rest, last.reference, name, last.at))
    return entries


async def _references(tx: Transaction, attempt: Attempt) -> set[str]:
    rows = await tx.scalars(
        select(LedgerEntry.reference).where(
            LedgerEntry.job_id == attempt.job_id,
            LedgerEntry.attempt == attempt.number,
            LedgerEntry.kind.in_(_CORRECTIONS),
        )
    )
    return set(rows)


async def _fresh(tx: Transaction, attempt: Attempt, name: str) -> str:
    """Return a reference of a correction: a line may correct twice, when our booking changed in between."""
    booked = await _references(tx, attempt)
    names = (name, *(f"{name} ~{again}" for again in range(2, len(booked) + 2)))
    return next(each for each in names if each not in booked)


def _named(lines: Sequence[AccountLine]) -> Iterator[tuple[AccountLine, str]]:
    """Give each line of an attempt a name of its own: several of one moment may say different amounts."""
    alike = Counter[str]()
    for each in lines:
        name = _name(each)
        alike[name] += 1
        yield each, name if alike[name] == 1 else f"{name} ~{alike[name]}"


def _name(line: AccountLine) -> str:
    return Line(line.at, line.kind, line.credits, line.reference, line.nth).name  # type: ignore[arg-type] # CHECKed
