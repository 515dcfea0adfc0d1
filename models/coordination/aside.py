"""Rows that a duty failed at, set aside: one that cannot be moved never stops the duty for the others.

A duty skips these rows until their time has come, and tries each one again more and more rarely. A row
that it can move then is deleted here. Operators see the others: `python -m models set-aside` lists them, a
metric counts them, and each failure is a log line.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute

from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Aside

Duty = Literal[
    "release",
    "wake",
    "reconcile",
    "park",
    "reap",
    "expire",
    "readmit",
    "budgets",
    "follow",
    "deliveries",
    "images",
    "jobs",
    "events",
    "correct",
    "empty",
    "batches",
    "erase",
]

# A moment's trouble of Postgres puts a row off by seconds, a row that never works costs a try an hour.
_FIRST, _DOUBLINGS, _LAST = timedelta(seconds=5), 10, timedelta(hours=1)
_FORGOTTEN = timedelta(days=1)  # after its last time to be tried: something else has moved it
_REASON_MAX = 500  # characters


async def put(tx: Transaction, duty: Duty, subject: UUID, reason: str) -> int:
    """Set a row aside, or once more; returns how often the duty has failed at it by now."""
    power = func.power(2, func.least(Aside.failures, _DOUBLINGS))
    failures = await tx.scalar(
        insert(Aside)
        .values(
            duty=duty,
            subject=subject,
            reason=reason[:_REASON_MAX],
            again_at=func.now() + _FIRST,
        )
        .on_conflict_do_update(
            index_elements=["duty", "subject"],
            set_={
                "reason": reason[:_REASON_MAX],
                "failures": Aside.failures + 1,
                "again_at": func.now() + func.least(_LAST, power * _FIRST),
            },
        )
        .returning(Aside.failures)
    )
    return failures or 1


def passed_by(
    duty: Duty, subject: InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None]
) -> ColumnElement[bool]:
    """Return, as SQL, whether a duty passes this row by."""
    return exists(
        select(Aside.subject).where(
            Aside.duty == duty, Aside.subject == subject, Aside.again_at > func.now()
        )
    )


def passed(duty: Duty) -> str:
    """Return, as SQL by hand, an array of the rows that a duty passes by, made once a statement."""
    rows = f"SELECT subject FROM set_aside WHERE duty = '{duty}' AND again_at > now()"  # noqa: S608 - ours
    return f"ARRAY({rows})"


async def among(tx: Transaction, duty: Duty, subjects: Sequence[UUID]) -> set[UUID]:
    """Return those of these rows that a duty passes by."""
    mine = (Aside.duty == duty) & Aside.subject.in_(subjects) & (Aside.again_at > func.now())
    return set(await tx.scalars(select(Aside.subject).where(mine)))


async def forget(tx: Transaction, duty: Duty, moved: Sequence[UUID]) -> None:
    """Forget rows that the duty has moved after all."""
    await tx.execute(delete(Aside).where(Aside.duty == duty, Aside.subject.in_(moved)))


async def forget_subject(tx: Transaction, subject: UUID) -> None:
    """Forget a row for every duty: why one failed at it may quote what it was about."""
    await tx.execute(delete(Aside).where(Aside.subject == subject))


async def forget_due(tx: Transaction, duty: Duty) -> None:
    """Forget what a duty has just moved with all others at once: it passed by only what is not due."""
    await tx.execute(delete(Aside).where(Aside.duty == duty, Aside.again_at <= func.now()))


async def forget_old(tx: Transaction) -> None:
    """Forget rows that their duties have not met again: something else has moved them."""
    await tx.execute(delete(Aside).where(Aside.again_at < func.now() - _FORGOTTEN))


async def counts(tx: Reader) -> dict[str, int]:
    """Count what is set aside, by duty."""
    return {row["duty"]: row["n"] for row in await tx.read(_COUNTS, {})}


async def listing(tx: Transaction, limit: int) -> list[Aside]:
    """Return what is set aside, the longest first."""
    rows = await tx.scalars(select(Aside).order_by(Aside.since, Aside.subject).limit(limit))
    return list(rows)


_COUNTS = prepared(text("SELECT duty, count(*) AS n FROM set_aside GROUP BY duty"))
