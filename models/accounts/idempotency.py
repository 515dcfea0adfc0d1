"""Whether a project requires an Idempotency-Key of every request that creates a job."""

from uuid import UUID

from sqlalchemy import select, update

from models import ids
from models.audit_log import recording
from models.platform.db import Transaction
from models.schema import Project


async def require(tx: Transaction, project_id: UUID, *, required: bool) -> None:
    """Require keys of a project from now on, or no longer; what was accepted without one stays."""
    mine = Project.id == project_id
    before = await tx.scalar(
        select(Project.idempotency_required).where(mine).with_for_update(key_share=True)
    )
    await tx.execute(update(Project).where(mine).values(idempotency_required=required))
    await recording.record(
        tx,
        "project.limits_changed",
        ids.text(ids.PROJECT, project_id),
        project_id=project_id,
        before={"idempotency_required": before},
        after={"idempotency_required": required},
    )
