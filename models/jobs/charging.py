"""A charge that was unknown becomes known: from the provider's log, or by an operator's hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, update

from models import attempts
from models.db import Transaction
from models.jobs.announcing import lock
from models.jobs.answering import after_resolved, tell_resolved
from models.schema import Attempt, Job
from models.views import Lens


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt cost after all: `credits` as charged, or None for nothing."""

    credits: int | None
    inference_id: str | None = None
    made_at: datetime | None = None


async def unknown_charges(tx: Transaction, *, limit: int) -> list[Attempt]:
    """Give attempts whose charge is unknown, oldest first; those still under way are left out."""
    rows = await tx.scalars(
        select(Attempt)
        .where(Attempt.charge == "unknown", Attempt.finished_at.is_not(None))
        .order_by(Attempt.sent_at)
        .limit(limit)
    )
    return list(rows)


async def open_charges(tx: Transaction, client_request_ids: Sequence[str]) -> list[Attempt]:
    """Give those of these attempts that a row of the provider's log can still say something new of."""
    rows = await tx.scalars(
        select(Attempt).where(
            Attempt.client_request_id.in_(client_request_ids),
            Attempt.charge.in_(("unknown", "released")),
            Attempt.finished_at.is_not(None),
        )
    )
    return list(rows)


async def note_absent(tx: Transaction, attempt: Attempt) -> None:
    """Remember that the log did not show an attempt when it first should have."""
    await tx.execute(
        update(Attempt)
        .where(Attempt.id == attempt.id, Attempt.absent_at.is_(None))
        .values(absent_at=func.now())
    )


async def resolve(
    tx: Transaction, lens: Lens, job_id: UUID, number: int, verdict: Verdict
) -> Job | None:
    """Settle or release an attempt, tell it, and move a job that waited for just this.

    None when it says nothing new.
    """
    job = await lock(tx, job_id)
    attempt = await tx.scalar(
        select(Attempt).where(
            Attempt.job_id == job_id,
            Attempt.number == number,
            # A call that is under way still brings its own answer, and perhaps the image.
            Attempt.finished_at.is_not(None),
            or_(Attempt.charge == "unknown", Attempt.charge == "released"),
        )
    )
    if attempt is None:
        return None
    done = await attempts.resolve(
        tx,
        job,
        attempt,
        credits_=verdict.credits,
        inference_id=verdict.inference_id,
        made_at=verdict.made_at,
    )
    if done is None:
        return None
    job = await tell_resolved(tx, lens, done[1])
    return await after_resolved(tx, lens, job, paid=verdict.credits is not None)
