"""Pauses: what an operator has stopped. What is in flight ends, nothing else begins; nothing is moved.

all        Nothing is dispatched, not even what is paid and only has to be kept: after a restore from a
           backup nobody may act on what it says before the provider's log was read.
model      No call of this model; its paid images are kept.
project    No call for this project; its paid images are kept.

Webhooks go on in every case, and charges are found out.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.audit_log import recording
from models.platform.db import Transaction
from models.schema import Job, Pause, Project
from models.states import AuditAction

Scope = Literal["all", "model", "project"]


async def pause(tx: Transaction, scope: Scope, name: str = "") -> bool:
    """Stop everything, a model by its id, or a project by its uuid; False when it was paused already."""
    row = insert(Pause).values(scope=scope, name=name).on_conflict_do_nothing()
    began = await tx.scalar(row.returning(Pause.scope)) is not None
    if began:
        await _log(tx, "pause.began", scope, name)
    return began


async def resume(tx: Transaction, scope: Scope, name: str = "") -> bool:
    """End a pause; what it held goes on in its order. Return False when nothing was paused."""
    ended = delete(Pause).where(Pause.scope == scope, Pause.name == name).returning(Pause.scope)
    tx.ring("jobs")
    was_paused = await tx.scalar(ended) is not None
    if was_paused:
        await _log(tx, "pause.ended", scope, name)
    return was_paused


async def _log(tx: Transaction, action: AuditAction, scope: Scope, name: str) -> None:
    project_id = UUID(name) if scope == "project" else None
    subject = name if project_id is None else ids.text(ids.PROJECT, project_id)
    await recording.record(
        tx, action, subject or scope, project_id=project_id, after={"scope": scope}
    )


async def standing(tx: Transaction) -> list[Pause]:
    """Return every pause, the oldest first."""
    return list(await tx.scalars(select(Pause).order_by(Pause.paused_at, Pause.scope, Pause.name)))


async def described(tx: Transaction) -> list[tuple[str, datetime]]:
    """Return what is paused, in an operator's words, and since when; the oldest first."""
    rows = await tx.execute(
        select(Pause.scope, Pause.name, Pause.paused_at, Project.name)
        .outerjoin(Project, (Pause.scope == "project") & (cast(Project.id, Text) == Pause.name))
        .order_by(Pause.paused_at, Pause.scope, Pause.name)
    )
    return [
        ("everything" if scope == "all" else f"{scope} {project or name}", since)
        for scope, name, since, project in rows
    ]


# The same for many jobs at once: one row, of the models and projects that are paused, or of everything.
STOPPED = """
        SELECT coalesce(array_agg(name) FILTER (WHERE scope = 'model'), '{}') AS models,
               coalesce(array_agg(name) FILTER (WHERE scope = 'project'), '{}') AS projects,
               coalesce(bool_or(scope = 'all'), false) AS everything
          FROM pauses"""


def holding(job: type[Job] = Job) -> ColumnElement[bool]:
    """Return, as SQL beside a job, whether a pause holds it."""
    of_model = and_(Pause.scope == "model", Pause.name == job.model)
    of_project = and_(Pause.scope == "project", Pause.name == cast(job.project_id, Text))
    its_own = and_(job.phase == "call", or_(of_model, of_project))
    return select(Pause.scope).where(or_(Pause.scope == "all", its_own)).correlate(job).exists()
