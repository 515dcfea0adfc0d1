"""→ canceled, → failed, → succeeded with a late image: every ending but expiry and that of an own image.

An ending writes the ledger, the event and the deliveries itself, in its own transaction, so that no caller
can forget them. Afterwards the job holds only what its unknown attempts hold.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select

from models.errors import NotFound
from models.images import records
from models.jobs import attempts
from models.jobs.changes.moving import change, lock, queue
from models.jobs.endings import following
from models.jobs.endings.closing import close, release_pending_hold, unknown_hold
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.schema import Job
from models.states import UNFINISHED, Ending, Status, WaitingReason

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
