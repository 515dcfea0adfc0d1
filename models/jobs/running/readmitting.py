"""queued (budget) → queued: jobs that wait for room in a budget, and how they get it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.jobs.changes.moving import lock, queue
from models.jobs.endings.ending import conclude, fail
from models.jobs.running.affording import hold_next, priced, unaffordable
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Job
from models.states import JOB_UNFUNDED


async def waiting_for_budget(tx: Reader, limit: int) -> list[tuple[UUID, UUID]]:
    """Return project and id of jobs that wait for room in a budget: of each project the first, by rank."""
    rows = await tx.read(_UNFUNDED, {"limit": limit})
    return [(row["project_id"], row["id"]) for row in rows]


async def readmit(tx: Transaction, presenter: Presenter, job_id: UUID) -> Job | None:
    """queued (budget) → queued: hold again, now that there may be room; None when there is not.

    → failed when the price has risen beyond its `max_cost` meanwhile.
    """
    job = await lock(tx, job_id)
    if job.status != "queued" or job.waiting_reason != "budget":
        return None
    job = await priced(tx, job)
    if (why := await unaffordable(tx, job)) is not None:
        return await conclude(tx, presenter, job) or await fail(
            tx, presenter, job, "max_cost_reached", why, retryable=True
        )
    held = await hold_next(tx, job, reference=str(job.version))
    if held == "budget":
        return None
    if held == "batch":
        return await queue(tx, job, "call", reason="batch", run_after=None)
    return await queue(tx, held, "call", reason="queue", run_after=timedelta(0))


# Leaps from project to project over ix_jobs_unfunded: how much waits in one costs the others nothing.
_UNFUNDED = prepared(
    text(f"""
    WITH RECURSIVE owners AS (
        (SELECT project_id FROM jobs WHERE {JOB_UNFUNDED} ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT following.* FROM owners CROSS JOIN LATERAL (
               SELECT project_id FROM jobs
                WHERE {JOB_UNFUNDED} AND project_id > owners.project_id
                ORDER BY project_id LIMIT 1) following
    )
    SELECT owners.project_id, first.id FROM owners CROSS JOIN LATERAL (
           SELECT id, rank FROM jobs
            WHERE {JOB_UNFUNDED} AND project_id = owners.project_id
              AND NOT EXISTS (SELECT FROM set_aside
                               WHERE duty = 'readmit' AND subject = jobs.id AND again_at > now())
            ORDER BY rank, id LIMIT :limit) first
     ORDER BY project_id, rank, first.id
""")  # noqa: S608 - ours
)
