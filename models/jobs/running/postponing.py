"""running (keep) → queued (keep) or → failed: the image is paid, and its bytes cannot be kept now."""

from datetime import timedelta

from sqlalchemy import func, select, update

from models.jobs.attempts import Ref
from models.jobs.changes.moving import lock
from models.jobs.endings.ending import conclude, fail, queue_keep
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.schema import Job
from models.states import WaitingReason

_FIRST_AGAIN, _LAST_AGAIN = timedelta(seconds=1), timedelta(minutes=10)


async def keep_later(
    tx: Transaction,
    presenter: Presenter,
    ref: Ref,
    *,
    ttl: timedelta,
    message: str,
    waiting: WaitingReason = "storage",
    patience: timedelta = timedelta.max,
) -> Job | None:
    """running (keep) → queued (keep): fetch or store it again later, without paying again.

    The delay doubles with the time that has passed. When the provider's URL is dead (`keep_until`), or
    this failure is worth no try so long after the image was received (`patience`), the job fails
    `image_lost`, charged.
    """
    job = await lock(tx, ref.job_id)
    if job.fence != ref.fence or job.status != "running" or job.phase != "keep":
        return None
    now = await tx.scalar(func.now().select())
    if job.keep_until is None or now is None or now >= job.keep_until:
        return await image_lost(tx, presenter, job, message)
    elapsed = max(now - (job.keep_until - ttl), timedelta(0))
    if elapsed >= patience:
        return await image_lost(tx, presenter, job, message)
    delay = min(max(elapsed, _FIRST_AGAIN), _LAST_AGAIN)
    return await queue_keep(tx, job, delay, attempt=job.attempt, waiting=waiting)


async def keep_at_once(tx: Transaction) -> int:
    """Queued (keep), due at once: the store takes images again. Returns how many waited for that."""
    waiting = (
        select(Job.id)
        .where(
            Job.status == "queued",
            Job.phase == "keep",
            Job.waiting_reason == "storage",
            Job.run_after > func.now(),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    due = update(Job).where(Job.id.in_(waiting)).values(run_after=func.now()).returning(Job.id)
    tx.ring("jobs")
    return len((await tx.execute(due)).all())


async def image_lost(tx: Transaction, presenter: Presenter, job: Job, why: str) -> Job | None:
    """running (keep) → failed, charged, unless `conclude` ends it: it can be had no more."""
    if (ended := await conclude(tx, presenter, job)) is not None:
        return ended
    text = f"The image was paid for, but could not be kept: {why}"
    return await fail(tx, presenter, job, "image_lost", text, retryable=True)
