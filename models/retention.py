"""Retention: what is old enough goes, a small batch at a time, each in a short transaction.

Ids are UUIDv7 and sort by time, so the oldest rows are found by the primary key. The ledger stays: what
was spent is known for ever, of which project, key, customer and job.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, tuple_, update

from models import ids, remnants
from models.db import Transaction
from models.schema import Attempt, Delivery, Event, Image, Job

_UNDER_WAY = ("pending", "sending")


async def expire_images(tx: Transaction, limit: int) -> int:
    """Let images go whose retention has ended; gives how many. Their bytes are deleted later."""
    rows = await tx.execute(
        select(Image.job_id, Image.attempt, Image.sha256, Job.project_id)
        .join(Job, Job.id == Image.job_id)
        .where(Image.removed_at.is_(None), Image.expires_at <= func.now())
        .order_by(Image.expires_at)
        .limit(limit)
        .with_for_update(of=Image, skip_locked=True)
    )
    found = rows.all()
    if found:
        keys = [(row.job_id, row.attempt) for row in found]
        await tx.execute(
            update(Image)
            .where(tuple_(Image.job_id, Image.attempt).in_(keys))
            .values(removed_at=func.now())
        )
        await remnants.leave(tx, [(row.project_id, row.sha256) for row in found])
    return len(found)


async def remove_jobs(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete old jobs with all that belongs to them; gives how many.

    Only finished ones whose every charge is known and which nobody is still to be told of.
    """
    unknown = exists().where(Attempt.job_id == Job.id, Attempt.charge == "unknown")
    told = exists().where(Delivery.job_id == Job.id, Delivery.state.in_(_UNDER_WAY))
    rows = await tx.scalars(
        select(Job.id)
        .where(Job.id < await _bound(tx, kept), Job.finished_at.is_not(None), ~unknown, ~told)
        .order_by(Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = list(rows)
    if found:
        await remnants.leave(tx, await remnants.of(tx, found))
        await tx.execute(delete(Job).where(Job.id.in_(found)))
    return len(found)


async def remove_deliveries(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete old events with their deliveries and tries; gives how many events.

    An event of which a delivery is under way, or ended lately because it was sent again, is kept.
    """
    rows = await tx.scalars(
        select(Event.id)
        .where(Event.id < await _bound(tx, kept), ~exists().where(_still_wanted(kept)))
        .order_by(Event.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = list(rows)
    if found:
        await tx.execute(delete(Event).where(Event.id.in_(found)))
    return len(found)


def _still_wanted(kept: timedelta) -> ColumnElement[bool]:
    late = or_(Delivery.state.in_(_UNDER_WAY), Delivery.finished_at >= func.now() - kept)
    return and_(Delivery.event_id == Event.id, late)


async def _bound(tx: Transaction, kept: timedelta) -> UUID:
    """Give the first id of the time that is kept, by the database's clock."""
    return ids.first_at((await tx.execute(select(func.now() - kept))).scalar_one())
