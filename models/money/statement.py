"""The account's statement: the lines of its own ledger at the provider, as they were read.

They are the truth about money, for every attempt. Each line that moved money for calls is kept once,
however often it is read: the provider gives lines no id, so a line is identified by all of its fields, and
equal lines by their number. `jobs.correct` brings our books in line with what is found here. A line without
an attempt is unmatched: somebody else uses the account, or we have lost an attempt, which must never
happen.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models.coordination import aside
from models.platform.db import Transaction
from models.schema import AccountLine, Attempt, Duty
from models.states import MovementKind

DUTY = "statement"
JUDGED = "statement_judged"


@dataclass(frozen=True, slots=True)
class Line:
    """One movement: `credits` is what it took, negative when it gave back.

    `reference` is an inference id, as a rule. `nth` tells lines apart that say the same, from 1 on.
    """

    at: datetime
    kind: MovementKind
    credits: int
    reference: str | None
    nth: int = 1

    @property
    def name(self) -> str:
        """How our ledger refers to it."""
        twin = "" if self.nth == 1 else f" #{self.nth}"
        return f"{self.kind} {self.at:%Y-%m-%dT%H:%M:%S.%f}{twin}"


async def begun_at(tx: Transaction) -> datetime | None:
    """Return when our first call was made: what was charged before cannot be ours."""
    return await tx.scalar(select(Attempt.sent_at).order_by(Attempt.id).limit(1))


async def mark(tx: Transaction, duty: str) -> datetime | None:
    """Return until when a duty has gone through the statement; None when it never has."""
    return await tx.scalar(select(Duty.done_at).where(Duty.name == duty))


async def set_mark(tx: Transaction, duty: str, until: datetime) -> None:
    """Remember until when a duty has gone through the statement; a mark never goes back."""
    made = insert(Duty).values(name=duty, done_at=until)
    await tx.execute(
        made.on_conflict_do_update(
            index_elements=["name"], set_={"done_at": func.greatest(Duty.done_at, until)}
        )
    )


async def take(tx: Transaction, lines: Sequence[Line]) -> list[int]:
    """Write lines that were read; return the ids of those that are new."""
    if not lines:
        return []
    columns = ("at", "kind", "credits", "reference", "nth")
    made = await tx.scalars(
        insert(AccountLine)
        .values([{name: getattr(line, name) for name in columns} for line in lines])
        .on_conflict_do_nothing()
        .returning(AccountLine.id)
    )
    return list(made)


async def attribute(
    tx: Transaction, lines: Collection[int], *, longest: timedelta, apart: timedelta
) -> None:
    """Find the attempts of lines that are nobody's yet, by their inferences.

    `longest` is how long a call may go on, `apart` how far the provider's clock may be from ours. A refund
    may come long after its call: it goes where the line that it is about went.
    """
    if not lines:
        return
    asked = {"lines": list(lines), "longest": longest + apart, "apart": apart}
    await tx.execute(_BY_INFERENCE, asked)
    await tx.execute(_BY_SIBLING, {"lines": list(lines)})
    await tx.execute(_AGREED, {"lines": list(lines)})


async def claim(tx: Transaction, attempt: Attempt, reference: str) -> bool:
    """Attribute what names this inference to an attempt that was just found to be it."""
    nobodys = AccountLine.attempt_id.is_(None) & (AccountLine.reference == reference)
    claimed = update(AccountLine).where(nobodys).values(attempt_id=attempt.id)
    return bool((await tx.scalars(claimed.returning(AccountLine.id))).all())


async def assign(tx: Transaction, line: int, attempt_id: UUID) -> None:
    """Attribute one line that names no inference of ours, and whatever names the same one."""
    found = await tx.scalar(select(AccountLine.reference).where(AccountLine.id == line))
    mine = AccountLine.id == line if found is None else AccountLine.reference == found
    nobodys = AccountLine.attempt_id.is_(None)
    await tx.execute(update(AccountLine).where(mine, nobodys).values(attempt_id=attempt_id))


async def unbooked(tx: Transaction, *, limit: int) -> list[UUID]:
    """Return attempts with lines that our books may not agree with yet, those of the oldest lines first."""
    waiting = AccountLine.attempt_id.is_not(None) & ~AccountLine.booked
    tried = ~aside.passed_by("correct", AccountLine.attempt_id)
    some = (
        select(AccountLine.attempt_id).where(waiting, tried).order_by(AccountLine.id).limit(limit)
    )
    return list(dict.fromkeys(each for each in await tx.scalars(some) if each is not None))


async def note_booked(tx: Transaction, attempt_id: UUID) -> None:
    """Remember that our books agree with the lines of an attempt, in the transaction that makes them."""
    mine = (AccountLine.attempt_id == attempt_id) & ~AccountLine.booked
    await tx.execute(update(AccountLine).where(mine).values(booked=True))


async def of(tx: Transaction, attempt_id: UUID) -> list[AccountLine]:
    """Return the lines of an attempt, as they were read."""
    mine = AccountLine.attempt_id == attempt_id
    return list(await tx.scalars(select(AccountLine).where(mine).order_by(AccountLine.id)))


async def nobodys(
    tx: Transaction, since: datetime, until: datetime, *, limit: int
) -> list[AccountLine]:
    """Return lines of a time that belong to none of our attempts, oldest first."""
    lines = select(AccountLine).where(*_nobodys(since, until))
    return list(await tx.scalars(lines.order_by(AccountLine.at, AccountLine.id).limit(limit)))


async def unnamed(
    tx: Transaction, since: datetime, until: datetime, *, limit: int
) -> list[Attempt]:
    """Return attempts of a time that a line may belong to though no inference says so, oldest first.

    Those that know no inference and have no line, also while they are under way: a worker that died or
    waits for Postgres has yet to name them. What surely never reached a model is left out: nothing was
    sent, or the answer was about our key, our wallet or our pace.
    """
    refused = (Attempt.http_status >= 400) & Attempt.http_status.not_in((401, 402, 403, 429))  # noqa: PLR2004 - statuses
    unnamed_ = Attempt.inference_id.is_(None)
    calls = _without_a_line(since, until, unnamed_, (Attempt.charge != "none") | refused)
    return list(await tx.scalars(calls.limit(limit)))


async def uncharged(
    tx: Transaction, since: datetime, until: datetime, *, limit: int
) -> list[Attempt]:
    """Return attempts of a time that we have booked as charged and that no line charges."""
    calls = _without_a_line(since, until, Attempt.charge == "settled", Attempt.credits > 0)
    return list(await tx.scalars(calls.limit(limit)))


async def unmatched(tx: Transaction, since: datetime, until: datetime) -> dict[str, int]:
    """Count the lines of a time that are nobody's, by kind."""
    rows = await tx.execute(
        select(AccountLine.kind, func.count())
        .where(*_nobodys(since, until))
        .group_by(AccountLine.kind)
    )
    return {row[0]: row[1] for row in rows}


async def forget(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete the oldest lines; returns how many. What they changed in our books stays."""
    oldest = (
        select(AccountLine.id)
        .where(AccountLine.seen_at < func.now() - kept)
        .order_by(AccountLine.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = delete(AccountLine).where(AccountLine.id.in_(oldest)).returning(AccountLine.id)
    return len((await tx.scalars(gone)).all())


def _nobodys(since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    return AccountLine.attempt_id.is_(None), AccountLine.at >= since, AccountLine.at < until


def _without_a_line(
    since: datetime, until: datetime, *these: ColumnElement[bool]
) -> Select[Attempt]:
    """Select attempts of a time to which no line belongs, oldest first."""
    line = select(AccountLine.id).where(AccountLine.attempt_id == Attempt.id)
    sent = Attempt.sent_at >= since, Attempt.sent_at < until
    found = select(Attempt).where(*sent, *these, ~line.exists())
    return found.order_by(Attempt.sent_at, Attempt.id)


# `sent_at` is bounded for its index: this reads the calls around the lines.
_BY_INFERENCE = text("""
    WITH asked AS MATERIALIZED (
        SELECT id, reference, at FROM account_lines
         WHERE id = ANY (:lines) AND attempt_id IS NULL AND reference IS NOT NULL
    ), around AS (
        SELECT min(at) - CAST(:longest AS interval) AS lo, max(at) + CAST(:apart AS interval) AS hi
          FROM asked
    )
    UPDATE account_lines SET attempt_id = attempts.id
      FROM asked, attempts
     WHERE account_lines.id = asked.id AND account_lines.attempt_id IS NULL
       AND attempts.inference_id = asked.reference AND attempts.finished_at IS NOT NULL
       AND attempts.sent_at >= (SELECT lo FROM around) AND attempts.sent_at <= (SELECT hi FROM around)
""")
# Nearly every line: the only one of a call that was settled with just this.
_AGREED = text("""
    UPDATE account_lines SET booked = true
      FROM attempts
     WHERE account_lines.id = ANY (:lines) AND NOT booked AND attempts.id = account_lines.attempt_id
       AND kind = 'MODEL_USAGE' AND charge = 'settled' AND adjusted = 0
       AND attempts.credits = account_lines.credits
       AND NOT EXISTS (SELECT FROM account_lines other
                        WHERE other.attempt_id = attempts.id AND other.id <> account_lines.id)
""")
_BY_SIBLING = text("""
    UPDATE account_lines SET attempt_id = known.attempt_id
      FROM account_lines known
     WHERE account_lines.id = ANY (:lines) AND account_lines.attempt_id IS NULL
       AND known.reference = account_lines.reference AND known.attempt_id IS NOT NULL
""")
