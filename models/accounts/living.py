"""Whether a key still works: it was neither revoked, nor has it expired, nor is its project deleted.

Processes believe a key for some seconds after its end (`api/edge/callers`). What outlives it, another key
above all, is made only while it is known to live: keys of a project are made and ended one at a time,
whoever does it, under the lock of the project's row, which its deletion takes first as well.
"""

from uuid import UUID

from sqlalchemy import Uuid, func, or_, select

from models.errors import Unauthenticated
from models.platform.db import Transaction
from models.platform.db.statements import Writer, given, prepared
from models.schema import ApiKey, Project

LIVING = ApiKey.revoked_at.is_(None) & or_(
    ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()
)


async def is_living(tx: Transaction, key_id: UUID) -> bool:
    """Return whether a key still works."""
    return bool(await tx.scalar(select(LIVING).where(ApiKey.id == key_id)))


async def lock(tx: Writer, project_id: UUID | None) -> None:
    """Make and end no key of a project beside this transaction; an operator's key has none."""
    await tx.first(_LOCKED, {"project": project_id})


async def demand(tx: Writer, key_id: UUID, project_id: UUID) -> None:
    """Raise `Unauthenticated` for a key that has ended; else it lives until this transaction is over."""
    await lock(tx, project_id)
    row = await tx.first(_LIVES, {"key": key_id})
    if row is not None and not row["lives"]:
        raise Unauthenticated("This API key was revoked, or has expired.")


async def demand_project(tx: Writer, project_id: UUID) -> None:
    """Raise `Unauthenticated` for a project that was deleted: its keys ended with it.

    Else its deletion, which changes its name, waits for this transaction's end, and finds what it made.
    """
    row = await tx.first(_THERE, {"project": project_id})
    if row is not None and row["deleted_at"] is not None:
        raise Unauthenticated("The project of this API key was deleted.")


_OWNER = Project.id == given("project", Uuid())
_LOCKED = prepared(select(Project.id).where(_OWNER).with_for_update(key_share=True))
_THERE = prepared(
    select(Project.deleted_at).where(_OWNER).with_for_update(read=True, key_share=True)
)
# Locked too: an operator's key has no project.
_LIVES = prepared(
    select(LIVING.label("lives"))
    .where(ApiKey.id == given("key", Uuid()))
    .with_for_update(key_share=True)
)
