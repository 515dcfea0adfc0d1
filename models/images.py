"""Kept images: their thumbnails, and the end of their retention."""

from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, update

from models.db import Transaction
from models.schema import Image, Job

_SETTLED_FOR = func.make_interval(0, 0, 0, 0, 0, 1)  # a minute: the worker draws it right away


async def thumbnail_is(tx: Transaction, job_id: UUID, state: Literal["made", "impossible"]) -> None:
    """Say what became of the thumbnail of a job's image."""
    await tx.execute(
        update(Image).where(Image.job_id == job_id, ~Image.spare).values(thumbnail=state)
    )


async def without_thumbnail(tx: Transaction, limit: int) -> list[tuple[UUID, UUID, str]]:
    """Give job, project and hash of images whose thumbnail was lost with its worker, oldest first."""
    rows = await tx.execute(
        select(Image.job_id, Job.project_id, Image.sha256)
        .join(Job, Job.id == Image.job_id)
        .where(
            Image.thumbnail == "pending",
            ~Image.spare,
            Image.kept_at < func.now() - _SETTLED_FOR,
        )
        .order_by(Image.kept_at)
        .limit(limit)
    )
    return [(row.job_id, row.project_id, row.sha256) for row in rows]
