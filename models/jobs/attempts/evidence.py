"""Evidence: the beginning of an answer that may have been paid and had no image, for the operator alone.

It is deleted when its job is erased, or is removed when it is old.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select

from models.errors import NotFound
from models.platform.db import Transaction
from models.schema import Attempt
from models.schema import Evidence as Row


@dataclass(frozen=True, slots=True)
class Evidence:
    """An answer's body: its beginning (at most 64 KiB), and how many bytes there were in all."""

    content_type: str | None
    length: int
    body: bytes = field(repr=False)


async def write(tx: Transaction, attempt_id: UUID, found: Evidence) -> None:
    """Keep what an attempt, which has none yet, was answered with."""
    await tx.execute(
        insert(Row).values(
            attempt_id=attempt_id,
            content_type=found.content_type,
            length=found.length,
            body=found.body,
        )
    )


async def read(tx: Transaction, client_request_id: str) -> tuple[Evidence, datetime]:
    """Return what an attempt was answered with, and when it was kept; raises `NotFound`."""
    row = await tx.scalar(
        select(Row)
        .join(Attempt, Attempt.id == Row.attempt_id)
        .where(Attempt.client_request_id == client_request_id)
    )
    if row is None:
        raise NotFound(
            f"Nothing is kept of {client_request_id!r}: there is evidence only of answers that may have "
            "been paid and had no image, until their job is erased or removed."
        )
    return Evidence(row.content_type, row.length, row.body), row.at


async def erase(tx: Transaction, job_id: UUID) -> None:
    """Forget what a job's attempts were answered with."""
    mine = select(Attempt.id).where(Attempt.job_id == job_id)
    await tx.execute(delete(Row).where(Row.attempt_id.in_(mine)))
