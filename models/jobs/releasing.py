"""queued → released: the dispatcher's choice of what may run next, and the way back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func as sql
from sqlalchemy import text, tuple_, update

from models.db import Transaction
from models.schema import Job


@dataclass(frozen=True, slots=True)
class Release:
    """One job handed to Celery: the fence guards every arrow from here on."""

    job_id: UUID
    fence: int


async def release(
    tx: Transaction, slots: int, *, lease: timedelta, typical_call: timedelta, calls: bool = True
) -> list[Release]:
    """Release at most `slots` jobs, by rank: priority, then age. Their messages follow the commit.

    What is past its queue ttl, or could not end by its deadline, is left to `expire`. A job in phase
    `keep` is paid: it never expires, and is all that is released without `calls`: its image's URL
    dies while the wallet is empty.
    """
    if slots <= 0:
        return []
    rows = await tx.execute(
        _RELEASE, {"slots": slots, "lease": lease, "typical_call": typical_call, "calls": calls}
    )
    return [Release(row.id, row.fence) for row in rows]


# The rank decides, for every project alike; shares between projects belong here, into `picked`.
_RELEASE = text("""
    WITH picked AS (
        SELECT id FROM jobs
         WHERE status = 'queued' AND run_after <= now()
           AND (phase = 'keep' OR (:calls AND queue_expires_at > now()
                AND (deadline IS NULL OR deadline > now() + :typical_call)))
         ORDER BY rank, id LIMIT :slots
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE jobs SET status = 'released', fence = fence + 1, lease_until = now() + :lease
      FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.fence
""")


async def hand_back(tx: Transaction, releases: Sequence[Release]) -> int:
    """Released → queued: the message was not published, or a draining worker gives it back."""
    pairs = [(each.job_id, each.fence) for each in releases]
    rows = await tx.execute(
        update(Job)
        .where(Job.status == "released", tuple_(Job.id, Job.fence).in_(pairs))
        .values(status="queued", lease_until=None, run_after=sql.now())
        .returning(Job.id)
    )
    tx.ring("jobs")
    return len(rows.all())
