"""Caps: how many jobs of a project may be in flight at once, in all and with one `concurrency_key`.

In flight is what is dispatched or running. Only calls wait for a cap; a paid image does not. And how many
API keys a project may have.
"""

from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import aliased

from models import ids
from models.audit_log import recording
from models.errors import LimitReached
from models.platform.db import Transaction
from models.schema import ApiKey, Job, Project
from models.states import IN_FLIGHT

_MADE = 10  # keys that a project may have made, for each that may be good


@dataclass(frozen=True, slots=True)
class Caps:
    """`in_flight` is None while only the limit of all binds the project."""

    in_flight: int | None
    per_key: int


async def read(tx: Transaction, project_id: UUID) -> Caps:
    """Return the caps of a project."""
    stmt = select(Project.cap, Project.key_cap).where(Project.id == project_id)
    return Caps(*(await tx.execute(stmt)).one())


async def write(tx: Transaction, project_id: UUID, caps: Caps) -> None:
    """Set the caps of a project, from the next dispatch on; what is in flight goes on."""
    before = await read(tx, project_id)
    values = {"cap": caps.in_flight, "key_cap": caps.per_key}
    await tx.execute(update(Project).where(Project.id == project_id).values(values))
    await recording.record(
        tx,
        "project.limits_changed",
        ids.text(ids.PROJECT, project_id),
        project_id=project_id,
        before=asdict(before),
        after=asdict(caps),
    )
    tx.ring("jobs")


def reached(job: type[Job] = Job) -> ColumnElement[bool]:
    """Return, as SQL beside a job, whether its project has as many in flight as it may."""
    other = aliased(Job)
    in_flight = (
        select(func.count())
        .where(other.status.in_(IN_FLIGHT), other.project_id == Project.id)
        .scalar_subquery()
    )
    capped = (Project.id == job.project_id) & Project.cap.is_not(None) & (Project.cap <= in_flight)
    return select(Project.id).where(capped).correlate(job).exists()


async def demand_room_for_key(tx: Transaction, project_id: UUID, most: int) -> None:
    """Raise `LimitReached` when there is one key too many: `most` are good, ten times as many made.

    Asked in the transaction that made one, and has the project's row: one at a time asks.
    """
    ends = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    counted = select(func.count().filter(ApiKey.revoked_at.is_(None), ends), func.count())
    good, made = (await tx.execute(counted.where(ApiKey.project_id == project_id))).one()
    if good > most:
        raise LimitReached(
            f"This project has {most:,} API keys, as many as it may. Revoke one that is not needed, or "
            "have DARKROOM_KEYS_MAX raised."
        )
    if made > _MADE * most:
        raise LimitReached(
            f"This project has made {_MADE * most:,} API keys, which are kept after their end for what "
            "they have paid; have DARKROOM_KEYS_MAX raised to make more."
        )
