"""The last arrow of every job: one guarded UPDATE, its event, its deliveries.

The caller has locked the job's row. `following` does what follows for jobs that wait for this one, and
`ending` words failures and cancels.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, Update, func, null, select

from models.jobs.changes.announcing import announce
from models.jobs.changes.moving import changing
from models.jobs.view import Presenter
from models.money import ledger
from models.platform.db import Transaction
from models.schema import Attempt, Job
from models.states import Ending, EventType, Status

_EVENTS: dict[Ending, EventType] = {
    "succeeded": "job.succeeded",
    "failed": "job.failed",
    "canceled": "job.canceled",
    "expired": "job.expired",
}


async def close(
    tx: Transaction,
    presenter: Presenter,
    job: Job,
    ending: Ending,
    *,
    come_from: tuple[Status, ...],
    **values: object,
) -> Job | None:
    """Move a job (its row is taken) into a terminal state; None when it was not where it comes from."""
    was_in_flight = job.status != "queued"
    there = (Job.fence == job.fence, Job.status.in_(come_from))
    closed = ended_as(ending, job.id, *there, **values)
    ended = (await tx.scalars(closed.returning(Job))).one_or_none()
    if ended is None:
        return None
    await announce(tx, presenter, ended, _EVENTS[ending])
    if was_in_flight:
        tx.ring("jobs")  # a place is free
    return ended


def ended_as(
    ending: Ending,
    job_id: UUID | ColumnElement[UUID],
    *guards: ColumnElement[bool],
    **values: object,
) -> Update:
    """Write the UPDATE that ends a job."""
    never = {"lease_until": null(), "waiting_reason": null()}
    return changing(job_id, *guards, status=ending, finished_at=func.now(), **never, **values)


async def unknown_hold(tx: Transaction, job: Job) -> int:
    """Sum what the job's unknown attempts hold."""
    if not job.attempt:
        return 0
    total = await tx.scalar(
        select(func.coalesce(func.sum(Attempt.hold), 0)).where(
            Attempt.job_id == job.id, Attempt.charge == "unknown"
        )
    )
    return int(total or 0)


async def release_pending_hold(tx: Transaction, job: Job, reference: str = "") -> Job:
    """Release the hold of an attempt that has not begun, if there is one."""
    pending = job.held - await unknown_hold(tx, job)
    if pending <= 0:
        return job
    return await ledger.book(tx, job, ledger.release(job.attempt + 1, pending, reference))
