"""A job's lock, the UPDATE of a change that is seen from outside, and the ways back to the queue."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, TextClause, Update, func, select, text, update
from sqlalchemy.sql.dml import ReturningUpdate

from models.platform.db import Transaction
from models.platform.db.statements import Writer, prepared
from models.schema import Job
from models.states import Phase, WaitingReason


async def lock(tx: Transaction, job_id: UUID) -> Job:
    """Lock the job's row: always the first of a job's rows that a transaction locks."""
    row = await tx.scalars(
        select(Job).where(Job.id == job_id).with_for_update(key_share=True),
    )
    return row.one()


def change(job_id: UUID, *guards: ColumnElement[bool], **values: object) -> ReturningUpdate[Job]:
    """Write the UPDATE of a change that is seen from outside: `version` grows, and the job comes back."""
    return changing(job_id, *guards, **values).returning(Job)


def changing(
    job_id: UUID | ColumnElement[UUID],
    *guards: ColumnElement[bool] | TextClause,
    **values: object,
) -> Update:
    """Write the same without what comes back."""
    changed = update(Job).where(Job.id == job_id, *guards)
    return changed.values(version=Job.version + 1, **values)


async def queue(
    tx: Transaction,
    job: Job,
    phase: Phase,
    *,
    reason: WaitingReason,
    run_after: timedelta | None,
    **values: object,
) -> Job | None:
    """→ queued: due after `run_after`, or None while it waits for something other than time.

    None is returned when somebody else has the job, or it has ended.
    """
    tx.ring("job", str(job.id))
    tx.ring("jobs")
    queued = change(
        job.id,
        Job.fence == job.fence,
        Job.finished_at.is_(None),
        status="queued",
        phase=phase,
        lease_until=None,
        waiting_reason=reason,
        run_after=None if run_after is None else func.now() + run_after,
        **values,
    )
    return (await tx.scalars(queued)).one_or_none()


async def take_back(tx: Writer, dispatched: Sequence[tuple[UUID, int]]) -> int:
    """released → queued, due at once: nobody has begun. Returns how many of these ids and fences.

    Nobody sees it from outside, where a dispatched job is shown as queued.
    """
    ids, fences = [id_ for id_, _ in dispatched], [fence for _, fence in dispatched]
    rows = await tx.run(_UNRELEASE, {"ids": ids, "fences": fences})
    tx.ring("jobs")
    return len(rows)


_UNRELEASE = prepared(
    text("""
    UPDATE jobs SET status = 'queued', lease_until = NULL, run_after = now()
      FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS bigint[])) AS mine (id, fence)
     WHERE jobs.id = mine.id AND jobs.fence = mine.fence AND status || '' = 'released'
    RETURNING jobs.id
""")
)
