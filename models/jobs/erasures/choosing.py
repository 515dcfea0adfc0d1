"""Which jobs an erasure is about, as long as anything is left of them that it erases."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text

from models.platform.db import Transaction
from models.schema import Erasure, Job

_COUNTED = 10_000  # jobs under way that are told


def customer_of(erasure: Erasure) -> str | None:
    """Return the customer who is to be forgotten; None where it is about jobs, or done."""
    customer = (erasure.about or {}).get("customer")
    return customer if isinstance(customer, str) else None


def words_of(erasure: Erasure) -> list[str]:
    """Return by what the subject was called: a customer, or values of the metadata."""
    about = erasure.about or {}
    metadata = about.get("metadata")
    found = metadata.values() if isinstance(metadata, dict) else [about.get("customer")]
    return [each for each in found if isinstance(each, str) and each]


def chosen(erasure: Erasure) -> Iterator[ColumnElement[bool]]:
    """Yield, as SQL beside a job, what makes it one of those; a job that was erased is none any more.

    What was accepted after the request is left alone, by the database's clock.
    """
    yield Job.project_id == erasure.project_id
    yield Job.created_at <= erasure.created_at
    about = erasure.about or {}
    match about:
        case {"customer": customer}:
            yield Job.customer == customer
        case {"job_ids": [*found]}:
            yield Job.id.in_([UUID(str(each)) for each in found])
            yield or_(Job.erased_at.is_(None), Job.idempotency_key.is_not(None))
        case {"metadata": metadata}:
            yield Job.meta != text("'{}'::jsonb")  # by the words of the index
            yield Job.meta.contains(metadata)
        case _:
            yield text("false")  # type: ignore[misc]  # SQL is SQL


async def waiting(tx: Transaction, erasure: Erasure) -> int:
    """Count jobs that were canceled and are still under way: what is paid is waited for."""
    some = select(Job.id).where(*chosen(erasure), Job.finished_at.is_(None)).limit(_COUNTED)
    return await tx.scalar(select(func.count()).select_from(some.subquery())) or 0
