"""queued, released → expired: jobs that waited past their queue ttl, or cannot end by their deadline."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, or_, select, text

from models.coordination import aside
from models.jobs.changes.moving import lock
from models.jobs.endings.closing import release_pending_hold
from models.jobs.endings.ending import end
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Job
from models.states import JOB_UNCALLED, NOT_STARTED


async def late(tx: Reader, limit: int, typical_call: timedelta) -> list[UUID]:
    """Return so many jobs that are too late, those of each project in turn, its oldest first."""
    rows = await tx.read(LATE, {"limit": limit, "typical_call": typical_call})
    return [row["id"] for row in rows]


async def expire(
    tx: Transaction, presenter: Presenter, job_id: UUID, typical_call: timedelta
) -> Job | None:
    """→ expired, for a job that is too late; None when it is not, or no more."""
    job = await lock(tx, job_id)
    waited = Job.queue_expires_at <= func.now()
    hurried = Job.deadline <= func.now() + typical_call
    is_late = select(Job.id).where(Job.id == job_id, text(JOB_UNCALLED), or_(waited, hurried))
    if await tx.scalar(is_late) is None:
        return None
    freed = await release_pending_hold(tx, job)
    return await end(tx, presenter, freed, "expired", come_from=NOT_STARTED)


def _each_project(name: str, by: str, until: str, *, only: str = "") -> str:
    """Write the leaps from project to project over the index that has the earliest of each in front."""
    waits = f"{JOB_UNCALLED}{only}"
    return f"""
    {name} AS (
        (SELECT project_id, {by} FROM jobs WHERE {waits} ORDER BY project_id, {by} LIMIT 1)
        UNION ALL
        SELECT following.* FROM {name} CROSS JOIN LATERAL (
               SELECT project_id, {by} FROM jobs
                WHERE {waits} AND project_id > {name}.project_id
                ORDER BY project_id, {by} LIMIT 1) following
    ), {name}_late AS (
        SELECT {name}.project_id, late.* FROM {name} CROSS JOIN LATERAL (
               SELECT id, {by} AS since FROM jobs
                WHERE {waits} AND project_id = {name}.project_id AND {by} <= {until}
                  AND id <> ALL ({aside.passed("expire")})
                ORDER BY {by} LIMIT :limit) late
         WHERE {name}.{by} <= {until}
    )"""  # noqa: S608 - constants of ours


_HURRIED = _each_project(
    "hurried", "deadline", "now() + :typical_call", only=" AND deadline IS NOT NULL"
)
LATE = prepared(
    text(f"""
    WITH RECURSIVE {_each_project("waited", "queue_expires_at", "now()")}, {_HURRIED}
    SELECT id FROM (
           SELECT id, min(since) AS since,
                  row_number() OVER (PARTITION BY project_id ORDER BY min(since), id) AS nth
             FROM (SELECT * FROM waited_late UNION ALL SELECT * FROM hurried_late) late
            GROUP BY project_id, id) lined
     ORDER BY nth, since, id LIMIT :limit
""")  # noqa: S608 - constants of ours
)
