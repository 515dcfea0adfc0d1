"""Reaping: jobs are taken back from workers whose lease has run out.

Each job in a transaction of its own: a batch would lock the rows of budgets in an order of its own and
deadlock with another batch, and one poisoned row would hold up all others.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, func, select, text

from models import ids
from models.coordination import aside
from models.jobs import attempts
from models.jobs.changes.moving import lock, take_back
from models.jobs.endings.ending import conclude, fail, queue_keep
from models.jobs.running.answering import after_unknown
from models.jobs.running.postponing import image_lost
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, given, prepared
from models.schema import Attempt, Job
from models.states import IN_FLIGHT

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DEATHS_MAX = 2  # of workers, for one job

# A message that was lost, a call that was lost, an image that is still to be kept.
Reaped = Literal["unsent", "lost", "keeping"]


async def overdue(tx: Reader, limit: int) -> list[UUID]:
    """Return jobs whose lease has run out by the database's clock, oldest first."""
    return [row["id"] for row in await tx.read(OVERDUE, {"limit": limit})]


async def reap(tx: Transaction, presenter: Presenter, job_id: UUID) -> Reaped | None:
    """Take a job back from a worker whose lease has run out; return None when it has not."""
    job = await lock(tx, job_id)
    clock = select(Job.lease_until < func.now(), Job.keep_until <= func.now())
    run_out, url_is_dead = (await tx.execute(clock.where(Job.id == job_id))).one()
    if not run_out:
        return None
    if job.status == "released":
        await take_back(tx, [(job.id, job.fence)])  # its message was lost, and nothing was sent
        return "unsent"
    if job.phase == "keep":
        # Not for ever: bytes that kill each worker that keeps them would be taken back again and again.
        if url_is_dead:
            await image_lost(tx, presenter, job, "the workers that tried died or lost their lease")
        else:
            await queue_keep(tx, job, timedelta(0), attempt=job.attempt)
        return "keeping"
    finished = await attempts.finish(tx, job, job.attempt, attempts.LOST, start_id=None)
    if finished is not None and await _kills_workers(tx, finished[0]):
        await _quarantine(tx, presenter, finished[1])
    else:
        await after_unknown(tx, presenter, job if finished is None else finished[1])
    return "lost"


async def _kills_workers(tx: Transaction, attempt: Attempt) -> bool:
    """Return whether a job has lost two workers, and it was this job that cost the second one.

    Where another job that had lost one before was in the same worker's hands, nobody can tell which of them
    it was: both wait until their charges are known, come back apart, and the next death tells.
    """
    asked = {"job_id": attempt.job_id, "worker": attempt.worker}
    row = (await tx.execute(_DEATHS, asked)).one()
    return bool(row.deaths > _DEATHS_MAX or (row.deaths == _DEATHS_MAX and not row.others))


async def _quarantine(tx: Transaction, presenter: Presenter, job: Job) -> None:
    """running → failed: another attempt would cost another worker, and the jobs in its hands."""
    if await conclude(tx, presenter, job) is not None:
        return
    message = (
        "Each worker that made this call died during it, so it is not tried again. What the calls cost is "
        "resolved from the provider's log."
    )
    log.warning("job.quarantined", job_id=ids.text(ids.JOB, job.id), attempt=job.attempt)
    await fail(tx, presenter, job, "worker_lost", message, retryable=False)


# By `sent_at` within two hours, for its index alone: no call takes longer.
_DEATHS = text("""
    WITH lost AS (
        SELECT job_id, number, worker FROM attempts
         WHERE error->>'code' = 'worker_lost' AND sent_at > now() - interval '2 hours')
    SELECT (SELECT count(*) FROM attempts
             WHERE job_id = :job_id AND error->>'code' = 'worker_lost') AS deaths,
           EXISTS (SELECT FROM attempts other JOIN lost ON lost.job_id = other.job_id
                    WHERE other.worker = :worker AND other.job_id <> :job_id
                      AND other.sent_at > now() - interval '2 hours' AND lost.number < other.number
                      AND (other.finished_at IS NULL OR other.error->>'code' = 'worker_lost')) AS others
""")


OVERDUE = prepared(
    select(Job.id)
    .where(
        Job.status.in_(IN_FLIGHT),
        Job.lease_until < func.now(),
        ~aside.passed_by("reap", Job.id),
    )
    .order_by(Job.lease_until)
    .limit(given("limit", BigInteger()))
)
