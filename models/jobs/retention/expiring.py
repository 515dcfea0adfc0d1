"""Retention: old rows and images are deleted, a small batch at a time, each in a short transaction.

Ids are UUIDv7 and sort by time, so the oldest rows are found by the primary key. The ledger stays for
ever, with project, key, customer and job.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from models import ids
from models.coordination import aside
from models.coordination.aside import Duty
from models.images import collector
from models.platform.db import Transaction
from models.schema import Attempt, Batch, Delivery, Event, Image, Job

_UNDER_WAY = ("pending", "sending")


async def expire_images(tx: Transaction, limit: int, only: UUID | None = None) -> int:
    """End images whose retention is over; return how many. Their bytes are deleted later.

    `only` is the job whose images alone are to be looked at, as in each function here that takes it.
    """
    wanted = (
        select(Image.job_id, Image.attempt, Image.sha256, Job.project_id)
        .join(Job, Job.id == Image.job_id)
        .where(*_expired(), _chosen("images", Image.job_id, only))
        .order_by(Image.expires_at)
        .limit(limit)
        .with_for_update(of=Image, skip_locked=True)
    )
    found = (await tx.execute(wanted)).all()
    if found:
        keys = [(row.job_id, row.attempt) for row in found]
        await tx.execute(
            update(Image)
            .where(tuple_(Image.job_id, Image.attempt).in_(keys))
            .values(removed_at=func.now())
        )
        await collector.mark(tx, [(row.project_id, row.sha256) for row in found])
    return len(found)


async def expired_images(tx: Transaction, limit: int) -> list[UUID]:
    """Return the jobs whose images `expire_images` would let go first."""
    wanted = select(Image.job_id).where(*_expired(), _chosen("images", Image.job_id))
    rows = await tx.scalars(wanted.order_by(Image.expires_at).limit(limit))
    return list(dict.fromkeys(rows))


async def remove_jobs(
    tx: Transaction,
    kept: timedelta,
    limit: int,
    only: UUID | None = None,
    *,
    project_id: UUID | None = None,
) -> int:
    """Delete old jobs with all that belongs to them, of all projects or of one; returns how many.

    Only finished ones whose every charge is known, which nobody is still to be told of, and none follows.
    """
    old = await _old_jobs(tx, kept, only)
    if project_id is not None:
        # By the index that has both: by ids alone the jobs of everybody else would be gone through.
        old = old.where(Job.project_id == project_id).order_by(None)
        old = old.order_by(Job.project_id, Job.id)
    wanted = old.limit(limit).with_for_update(skip_locked=True)
    found = list(await tx.scalars(wanted))
    if found:
        await collector.mark(tx, await collector.of(tx, found))
        await tx.execute(delete(Job).where(Job.id.in_(found)))
    return len(found)


async def remove_batches(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete batches that are over and have no row left; returns how many."""
    rows = exists().where(Job.batch_id == Batch.id)
    old = Batch.id < await _bound(tx, kept)
    wanted = select(Batch.id).where(old, Batch.finished_at.is_not(None), ~rows)
    found = list(
        await tx.scalars(wanted.order_by(Batch.id).limit(limit).with_for_update(skip_locked=True))
    )
    if found:
        await tx.execute(delete(Batch).where(Batch.id.in_(found)))
    return len(found)


async def old_jobs(tx: Transaction, kept: timedelta, limit: int) -> list[UUID]:
    """Return the jobs that `remove_jobs` would delete first."""
    return list(await tx.scalars((await _old_jobs(tx, kept, None)).limit(limit)))


async def remove_deliveries(
    tx: Transaction, kept: timedelta, limit: int, only: UUID | None = None
) -> int:
    """Delete old events with their deliveries and tries; returns how many events.

    An event of which a delivery is under way, or ended lately because it was sent again, is kept.
    """
    wanted = (await _old_events(tx, kept, only)).limit(limit).with_for_update(skip_locked=True)
    found = list(await tx.scalars(wanted))
    if found:
        await tx.execute(delete(Event).where(Event.id.in_(found)))
    return len(found)


async def old_events(tx: Transaction, kept: timedelta, limit: int) -> list[UUID]:
    """Return the events that `remove_deliveries` would delete first."""
    return list(await tx.scalars((await _old_events(tx, kept, None)).limit(limit)))


def _expired() -> tuple[ColumnElement[bool], ...]:
    return Image.removed_at.is_(None), Image.expires_at <= func.now()


async def _old_jobs(tx: Transaction, kept: timedelta, only: UUID | None) -> Select[UUID]:
    unknown = exists().where(Attempt.job_id == Job.id, Attempt.charge == "unknown")
    told = exists().where(Delivery.job_id == Job.id, Delivery.state.in_(_UNDER_WAY))
    old = Job.id < await _bound(tx, kept)
    over = Job.finished_at.is_not(None) & ~Job.followed
    wanted = select(Job.id).where(old, over, ~unknown, ~told, _chosen("jobs", Job.id, only))
    return wanted.order_by(Job.id)


async def _old_events(tx: Transaction, kept: timedelta, only: UUID | None) -> Select[UUID]:
    old = Event.id < await _bound(tx, kept)
    late = or_(Delivery.state.in_(_UNDER_WAY), Delivery.finished_at >= func.now() - kept)
    wanted = exists().where(and_(Delivery.event_id == Event.id, late))
    return (
        select(Event.id).where(old, ~wanted, _chosen("events", Event.id, only)).order_by(Event.id)
    )


def _chosen(
    duty: Duty, row: InstrumentedAttribute[UUID], only: UUID | None = None
) -> ColumnElement[bool]:
    """Return, as SQL, which rows are looked at: all but those set aside, or one."""
    return ~aside.passed_by(duty, row) if only is None else row == only


async def _bound(tx: Transaction, kept: timedelta) -> UUID:
    """Return the first id of the time that is kept, by the database's clock."""
    return ids.first_at((await tx.execute(select(func.now() - kept))).scalar_one())
