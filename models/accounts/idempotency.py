"""Whether a project requires an Idempotency-Key of every request that creates a job."""

from uuid import UUID

from sqlalchemy import update

from models.platform.db import Transaction
from models.schema import Project


async def require(tx: Transaction, project_id: UUID, *, required: bool) -> None:
    """Require keys of a project from now on, or no longer; what was accepted without one stays."""
    chosen = update(Project).where(Project.id == project_id)
    await tx.execute(chosen.values(idempotency_required=required))
