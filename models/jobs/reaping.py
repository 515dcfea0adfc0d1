"""Takes back what a dead worker left: the owner of every stuck row."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, update

from models import attempts
from models.db import Transaction
from models.jobs.announcing import lock
from models.jobs.answering import after_unknown
from models.jobs.keeping import image_lost, requeue_keep
from models.schema import Job
from models.views import Lens


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one round took back: messages that were lost, calls that were lost, images to be kept."""

    unsent: int = 0
    lost: int = 0
    keeping: int = 0

    @property
    def total(self) -> int:
        """How many jobs were taken back."""
        return self.unsent + self.lost + self.keeping


async def reap(tx: Transaction, lens: Lens, batch: int) -> Reaped:
    """Take back jobs whose lease ran out by the database's clock, oldest first."""
    expired = await tx.execute(
        select(Job.id, Job.keep_until <= func.now())
        .where(Job.status.in_(("released", "running")), Job.lease_until < func.now())
        .order_by(Job.lease_until)
        .limit(batch)
        .with_for_update(key_share=True, skip_locked=True)
    )
    unsent = lost = keeping = 0
    for job_id, url_is_dead in expired.all():
        job = await lock(tx, job_id)
        if job.status == "released":
            await _unsent(tx, job)
            unsent += 1
        elif job.phase == "keep":
            # Not for ever: bytes that kill whoever keeps them would be taken back again and again.
            if url_is_dead:
                await image_lost(tx, lens, job, "the workers that tried died or lost their lease")
            else:
                await requeue_keep(tx, job, timedelta(0))
            keeping += 1
        else:
            finished = await attempts.finish(tx, job, job.attempt, attempts.LOST, start_id=None)
            await after_unknown(tx, lens, job if finished is None else finished[1])
            lost += 1
    return Reaped(unsent, lost, keeping)


async def _unsent(tx: Transaction, job: Job) -> None:
    """Released → queued: its message was lost before anybody started; nothing was sent."""
    await tx.execute(
        update(Job)
        .where(Job.id == job.id, Job.fence == job.fence, Job.status == "released")
        .values(status="queued", lease_until=None, run_after=func.now())
    )
    tx.ring("jobs")
