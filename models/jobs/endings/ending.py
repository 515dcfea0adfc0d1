"""→ canceled, → expired, → failed, → succeeded with a late image: every ending but that of an own image.

An ending writes the ledger, the event and the deliveries itself, in its own transaction, so that no caller
can forget them. Afterwards the job holds only what its unknown attempts hold.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Interval,
    Select,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from models.coordination import aside
from models.errors import NotFound
from models.images import records
from models.jobs import attempts
from models.jobs.changes.moving import change, lock, queue
from models.jobs.endings import following
from models.jobs.endings.closing import close, release_pending_hold, unknown_hold
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, given, prepared
from models.schema import Job
from models.states import NOT_STARTED, UNFINISHED, Ending, Status, WaitingReason

_HEAD_START = timedelta(seconds=2)  # of the worker that has just received the image


async def end(
    tx: Transaction,
    presenter: Presenter,
    job: Job,
    ending: Ending,
    *,
    come_from: tuple[Status, ...] = UNFINISHED,
    **values: object,
) -> Job | None:
    """Close a job, and leave those that follow it to their duty; None when it was elsewhere."""
    ended = await close(tx, presenter, job, ending, come_from=come_from, **values)
    if ended is not None:
        await following.leave(tx, ended)
    return ended


async def fail(
    tx: Transaction,
    presenter: Presenter,
    job: Job,
    code: str,
    message: str,
    *,
    retryable: bool,
    details: object = None,
) -> Job | None:
    """→ failed, with what people need to know; whether it was charged, the view reads off the sums."""
    error = {"code": code, "message": message, "retryable": retryable, "details": details}
    job = await release_pending_hold(tx, job)
    return await end(tx, presenter, job, "failed", error=error)


async def conclude(tx: Transaction, presenter: Presenter, job: Job) -> Job | None:
    """End a job (its row is locked) without another call; return None when it needs one.

    → canceled when that was requested, else → succeeded with the earliest late image that is kept, else
    → queued (keep) while one can still be fetched. Who would fail or queue a job asks here first. After
    one call there is none, and nothing is asked.
    """
    if job.cancel_requested_at is not None:
        return await end_canceled(tx, presenter, job)
    # Of a job in phase `keep` the number is that of the image's call, which may not be its last.
    if job.attempt <= 1 and job.phase == "call":
        return None
    if await records.promote(tx, job.id):
        job = await release_pending_hold(tx, job)
        return await end(tx, presenter, job, "succeeded")
    overtaken = await attempts.unkept(tx, job)
    if overtaken is None:
        return None
    job = await release_pending_hold(tx, job)
    return await queue_keep(tx, job, _HEAD_START, attempt=overtaken)


async def queue_keep(
    tx: Transaction,
    job: Job,
    delay: timedelta,
    *,
    attempt: int,
    waiting: WaitingReason = "image_download",
) -> Job | None:
    """→ queued (keep), due after `delay`; the worker that starts it fetches this attempt's image."""
    return await queue(tx, job, "keep", reason=waiting, run_after=delay, attempt=attempt)


async def cancel(
    tx: Transaction, presenter: Presenter, project_id: UUID, job_id: UUID | None
) -> Job:
    """Cancel a job: at once while nothing is under way, else no other attempt will follow.

    A paid call is never aborted: it would be charged all the same, and the image lost. Raises
    `NotFound`. A finished job is given as it is.
    """
    known = await tx.scalar(select(Job.id).where(Job.id == job_id, Job.project_id == project_id))
    if known is None:
        raise NotFound("There is no such job in this project.")
    return await cancel_taken(tx, presenter, await lock(tx, known))


async def cancel_taken(tx: Transaction, presenter: Presenter, job: Job) -> Job:
    """Cancel a job whose row is taken, as `cancel` does."""
    if job.finished_at is not None or job.cancel_requested_at is not None:
        return job
    if job.status != "running" and job.phase == "call":
        return await end_canceled(tx, presenter, job) or job
    requested = change(job.id, cancel_requested_at=func.now(), cancel_outcome="pending")
    tx.ring("job", str(job.id))
    return (await tx.scalars(requested)).one()


async def end_canceled(tx: Transaction, presenter: Presenter, job: Job) -> Job | None:
    """→ canceled without an image: uncharged, charged all the same, or nobody knows yet."""
    charged = "too_late" if job.charged else "prevented"
    outcome = "unknown" if await unknown_hold(tx, job) else charged
    job = await release_pending_hold(tx, job)
    return await end(
        tx,
        presenter,
        job,
        "canceled",
        cancel_requested_at=func.coalesce(Job.cancel_requested_at, func.now()),
        cancel_outcome=outcome,
    )


async def late(tx: Reader, limit: int, typical_call: timedelta) -> list[UUID]:
    """Return jobs that waited past their queue ttl, or cannot end by their deadline, oldest first."""
    rows = await tx.read(_LATE, {"limit": limit, "typical_call": typical_call})
    return [row["id"] for row in rows]


async def expire(
    tx: Transaction, presenter: Presenter, job_id: UUID, typical_call: timedelta
) -> Job | None:
    """→ expired, for a job that is too late; None when it is not, or no more."""
    job = await lock(tx, job_id)
    is_late = select(Job.id).where(Job.id == job_id, *_too_late(typical_call))
    if await tx.scalar(is_late) is None:
        return None
    freed = await release_pending_hold(tx, job)
    return await end(tx, presenter, freed, "expired", come_from=NOT_STARTED)


def _too_late(typical_call: timedelta) -> tuple[ColumnElement[bool], ...]:
    return (*_WAITS, or_(_WAITED_LONG, _ends_late(literal(typical_call))))


def _ends_late(typical_call: ColumnElement[timedelta]) -> ColumnElement[bool]:
    return Job.deadline <= func.now() + typical_call


_WAITS = (Job.status.in_(NOT_STARTED), Job.phase == "call")
_WAITED_LONG = Job.queue_expires_at <= func.now()


def _late(
    by: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None],
    late_: ColumnElement[bool],
) -> Select[UUID, datetime | None]:
    """Select the jobs that are late for this one reason, by the index that has its order."""
    found = select(Job.id, by.label("since")).where(*_WAITS, late_)
    return found.where(~aside.passed_by("expire", Job.id)).order_by(by).limit(_LIMIT)


_LIMIT = given("limit", BigInteger())
_BOTH = union_all(
    _late(Job.queue_expires_at, _WAITED_LONG).subquery("waited").select(),
    _late(Job.deadline, _ends_late(given("typical_call", Interval()))).subquery("hurried").select(),
).subquery("late")
_LATE = prepared(
    select(_BOTH.c.id).group_by(_BOTH.c.id).order_by(func.min(_BOTH.c.since)).limit(_LIMIT)
)
