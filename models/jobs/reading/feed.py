"""What happens to the jobs of projects, for those who watch: accepted, started, ended, charge resolved.

Ids of jobs and events begin with the time that they were made, so the order of both is one order. It is
nearly that of the commits: what is read overlaps by some seconds, and who listens drops what it has. What a
machine did whose clock is further behind is not told: this is for screens, which also look by themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text

from models import ids
from models.platform.db import Transaction

OVERLAP = timedelta(seconds=10)  # longer than a transaction is open
REACH = timedelta(minutes=10)  # how far back who comes again is told
MOST = 200  # of a project, in one look


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a job: `type` is an event's, or `job.accepted`."""

    id: UUID
    project_id: UUID
    job_id: UUID
    type: str
    at: datetime


def overlap(id_: UUID) -> UUID:
    """Return from where on to read for who has seen everything up to an id."""
    seen = datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
    return ids.first_at(seen - OVERLAP)


async def changes(tx: Transaction, projects: Sequence[UUID], after: UUID) -> list[Change]:
    """Return what happened since, oldest first: of each project the newest `MOST`."""
    rows = await tx.execute(_CHANGES, {"projects": list(projects), "after": after, "most": MOST})
    return [Change(row.id, row.project_id, row.job_id, row.type, row.created_at) for row in rows]


# The event `job.running` is written where a webhook wants it; an attempt, always and for each call. The
# bounds on ids let each part read the end of an index, whatever lies before.
_CHANGES = text("""
    SELECT change.id, asked.project_id, change.job_id, change.type, change.created_at
      FROM unnest(:projects) AS asked (project_id)
     CROSS JOIN LATERAL (
        (SELECT id, job_id, type, created_at FROM events
          WHERE id > :after AND events.project_id = asked.project_id AND job_id IS NOT NULL
            AND type <> 'job.running')
         UNION ALL
        (SELECT attempts.id, job_id, 'job.running', sent_at FROM attempts JOIN jobs ON jobs.id = job_id
          WHERE attempts.id > :after AND jobs.project_id = asked.project_id)
         UNION ALL
        (SELECT id, id, 'job.accepted', created_at FROM jobs
          WHERE jobs.project_id = asked.project_id AND id > :after)
         ORDER BY 1 DESC
         LIMIT :most
     ) AS change
     ORDER BY change.id
""").bindparams(bindparam("projects", type_=ARRAY(Uuid())), bindparam("after", type_=Uuid()))
