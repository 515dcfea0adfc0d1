"""What a project's lost calls may have cost, while nobody knows it yet."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.platform.db import Transaction
from models.states import unknown_charge


@dataclass(frozen=True, slots=True)
class Unknown:
    """So many calls, what is held for them in credits, and how many should be known by now."""

    calls: int
    credits: int
    overdue: int


async def unknown_of(tx: Transaction, project_id: UUID, expected: timedelta) -> Unknown:
    """Look at the calls whose charge is unknown; those under way are none of them."""
    row = (await tx.execute(_UNKNOWN, {"project": project_id, "expected": expected})).one()
    return Unknown(int(row.calls), int(row.credits), int(row.overdue))


# The partial index of unknown charges has as many rows as there are at present; each job by its id.
_UNKNOWN = text(f"""
    SELECT count(*) AS calls, coalesce(sum(hold), 0) AS credits,
           count(*) FILTER (WHERE sent_at < now() - CAST(:expected AS interval)) AS overdue
      FROM (SELECT job_id, hold, sent_at FROM attempts
             WHERE {unknown_charge()}) lost
     WHERE (SELECT project_id FROM jobs WHERE id = job_id) = :project
""")  # noqa: S608 - a constant of ours
