"""What is booked of an attempt: the end of its hold, its charge, refunds and corrections."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, update

from models.money import ledger, prices
from models.platform.db import Transaction
from models.schema import Attempt, Job
from models.states import Charge


async def resolve(
    tx: Transaction,
    job: Job,
    attempt: Attempt,
    *,
    credits_: int | None,
    inference_id: str | None,
    made_at: datetime | None = None,
) -> tuple[Attempt, Job] | None:
    """Book what an unknown charge turned out to be: so many credits, or None for nothing.

    A `released` attempt may still become `settled`. None when it says nothing new.
    """
    charge: Charge = "released" if credits_ is None else "settled"
    before = ("unknown",) if credits_ is None else ("unknown", "released")
    was = attempt.charge
    found = (
        await tx.scalars(
            update(Attempt)
            .where(Attempt.id == attempt.id, Attempt.charge.in_(before), Attempt.charge == was)
            .values(
                charge=charge,
                credits=credits_,
                charged_at=made_at or func.now() if charge == "settled" else None,
                inference_id=func.coalesce(Attempt.inference_id, inference_id),
            )
            .returning(Attempt),
        )
    ).one_or_none()
    if found is None:
        return None
    lines = entries(found, charge, credits_, made_at)
    if was == "released":
        lines = [each for each in lines if each.kind != "release"]
    job = await ledger.book(tx, job, *lines)
    await prices.observe(tx, job.model, found)
    return found, job


async def adjust(
    tx: Transaction,
    job: Job,
    attempt: Attempt,
    entries: Sequence[ledger.Entry],
    *,
    made_at: datetime | None = None,
) -> tuple[Attempt, Job]:
    """Book refunds and adjustments of an attempt; one that was free until now is settled by them.

    The caller has taken the job's row, and read the attempt since.
    """
    if not entries:
        return attempt, job
    moved = sum(each.credits for each in entries)
    adjusted = await tx.scalars(
        update(Attempt)
        .where(Attempt.id == attempt.id)
        .values(
            charge="settled",
            credits=func.coalesce(Attempt.credits, 0) + moved,
            adjusted=Attempt.adjusted + moved,
            charged_at=func.coalesce(Attempt.charged_at, made_at, func.now()),
            inference_id=func.coalesce(Attempt.inference_id, entries[-1].inference_id),
        )
        .returning(Attempt),
    )
    return adjusted.one(), await ledger.book(tx, job, *entries)


def entries(
    attempt: Attempt, charge: Charge, credits_: int | None, made_at: datetime | None = None
) -> list[ledger.Entry]:
    """Return what follows in the ledger from an attempt whose charge is this now."""
    if charge == "unknown":
        return []
    released = ledger.release(attempt.number, attempt.hold)
    if credits_ is None:
        return [released]
    charged = ledger.charge(attempt.number, credits_, attempt.inference_id, made_at)
    return [released, charged]
