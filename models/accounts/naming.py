"""The names that a project's clients have for models; what they mean is `models.provider.aliases`."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import null, select, update

from models import ids
from models.audit_log import recording
from models.platform.db import Transaction
from models.schema import Project


async def read(tx: Transaction, project_id: UUID) -> dict[str, object]:
    """Return what a project keeps under each name."""
    return await tx.scalar(select(Project.aliases).where(Project.id == project_id)) or {}


async def write(tx: Transaction, project_id: UUID, aliases: Mapping[str, object]) -> None:
    """Keep these names and no other; API processes go by them within seconds."""
    before, kept = await read(tx, project_id), dict(aliases) or null()
    await tx.execute(update(Project).where(Project.id == project_id).values(aliases=kept))
    await recording.record(
        tx,
        "project.alias_changed",
        ids.text(ids.PROJECT, project_id),
        project_id=project_id,
        before=before,
        after=aliases,
    )
