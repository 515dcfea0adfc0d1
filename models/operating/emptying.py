"""Emptying a project that is being deleted: all that is theirs goes, some rows at a time.

Jobs first: they are canceled, and deleted with their images, events and deliveries once nothing of them is
under way and what each call cost is known; files beside them. Then, once no customer of it is still being
forgotten, what belongs to the project itself. What stays: the ledger and its folded hours, keys without
name or use, a project without a name, proofs of erasures, and the audit log.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Text, cast, delete, func, select, text, update

from models import ids, jobs
from models.audit_log import recording
from models.coordination import aside
from models.images import files
from models.jobs import retention
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import (
    Action,
    Batch,
    Budget,
    Delivery,
    Endpoint,
    Erasure,
    Event,
    File,
    Gate,
    Job,
    Pause,
    Project,
    ProjectBreaker,
    Turn,
)
from models.states import UNFINISHED

_ALL = timedelta(hours=-2)  # the age from which jobs are deleted: clocks may be an hour apart


async def doomed(tx: Reader) -> list[UUID]:
    """Return the projects that are being deleted, the oldest first."""
    return [row["id"] for row in await tx.read(_DOOMED, {})]


async def unfinished(tx: Transaction, project_id: UUID, limit: int) -> list[UUID]:
    """Return jobs of a project that nobody has canceled yet."""
    rows = await tx.scalars(
        select(Job.id)
        .where(
            Job.project_id == project_id,
            Job.status.in_(UNFINISHED),
            Job.cancel_requested_at.is_(None),
            ~aside.passed_by("empty", Job.id),
        )
        .limit(limit)
    )
    return list(rows)


async def cancel(tx: Transaction, presenter: Presenter, job_id: UUID) -> Job | None:
    """Cancel a job of a project that is being deleted; a call under way ends by itself."""
    project_id = await tx.scalar(select(Job.project_id).where(Job.id == job_id))
    return None if project_id is None else await jobs.cancel(tx, presenter, project_id, job_id)


async def quieten(tx: Transaction, project_id: UUID, limit: int) -> int:
    """Abort deliveries that wait: nobody is told any more. Returns how many."""
    waiting = (
        select(Delivery.id)
        .where(Delivery.project_id == project_id, Delivery.state == "pending")
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    aborted = await tx.scalars(
        update(Delivery)
        .where(Delivery.id.in_(waiting))
        .values(state="aborted", next_at=None, finished_at=func.now())
        .returning(Delivery.id)
    )
    return len(aborted.all())


async def remove_jobs(tx: Transaction, project_id: UUID, limit: int) -> int:
    """Delete jobs that have ended with all that belongs to them; returns how many."""
    return await retention.remove_jobs(tx, _ALL, limit, project_id=project_id)


async def remove_files(tx: Transaction, project_id: UUID, limit: int) -> int:
    """Delete files; returns how many."""
    return await files.empty(tx, project_id, limit)


async def finish(tx: Transaction, project_id: UUID) -> bool:
    """Delete what belongs to the project itself, once it has neither job nor file; False before."""
    for thing in (Job, File):
        left = select(thing.id).where(thing.project_id == project_id)
        if await tx.scalar(left.limit(1)) is not None:
            return False
    under_way = Erasure.project_id == project_id, Erasure.finished_at.is_(None)
    if await tx.scalar(select(Erasure.id).where(*under_way).limit(1)) is not None:
        return False
    if await tx.scalar(_SENDING, {"project": project_id}) is not None:
        return False
    mine = select(Endpoint.id).where(Endpoint.project_id == project_id)
    told = select(Delivery.event_id).where(Delivery.endpoint_id.in_(mine))
    await tx.execute(delete(Event).where(Event.id.in_(told)))
    for table in (Action, Batch, Endpoint, Budget, Gate, ProjectBreaker, Turn):
        await tx.execute(delete(table).where(table.project_id == project_id))
    paused = (Pause.scope == "project") & (Pause.name == cast(project_id, Text))
    await tx.execute(delete(Pause).where(paused))
    emptied = update(Project).where(Project.id == project_id, Project.emptied_at.is_(None))
    await tx.execute(emptied.values(emptied_at=func.now()))
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(tx, "project.emptied", named, project_id=project_id)
    return True


_SENDING = text("""
    SELECT id FROM deliveries
     WHERE state = 'sending'
       AND endpoint_id IN (SELECT id FROM endpoints WHERE project_id = :project) LIMIT 1
""")


_DOOMED = prepared(
    select(Project.id)
    .where(Project.deleted_at.is_not(None), Project.emptied_at.is_(None))
    .order_by(Project.deleted_at)
)
