"""Why the jobs of one project wait: how many for each reason, as `view.waiting_reason` tells it of one.

So many of them are looked at, and no more: an answer costs the same however long the backlog is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from models.platform.db import Transaction
from models.states import JOB_IN_FLIGHT

MOST = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """So many jobs wait for one reason; the oldest of those for so many seconds."""

    reason: str
    jobs: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What a project has unfinished. `at_least`: more wait than were looked at."""

    lines: Sequence[Line]
    dispatched: int
    running: int

    @property
    def waiting(self) -> int:
        """How many jobs wait, as far as they were looked at; what is dispatched waits for its worker."""
        return sum(each.jobs for each in self.lines) + self.dispatched

    @property
    def at_least(self) -> bool:
        """Whether more wait."""
        return sum(each.jobs for each in self.lines) >= MOST

    @property
    def oldest(self) -> float:
        """How many seconds the oldest has waited."""
        return max((each.oldest for each in self.lines), default=0.0)


async def standing(tx: Transaction, project_id: UUID) -> Standing:
    """Look once; the most frequent reason comes first."""
    asked = {"project": project_id, "project_name": str(project_id)}
    busy = (await tx.execute(_BUSY, asked)).one()
    rows = await tx.execute(_LINES, asked | {"in_flight": busy.n, "most": MOST})
    lines = [Line(row.reason, int(row.n), float(row.oldest)) for row in rows]
    return Standing(lines, int(busy.dispatched), int(busy.running))


# What waits comes and goes faster than its statistics: the planner is told that its index is right.
PREPARE = text("SELECT set_config('enable_seqscan', 'off', true)")

_BUSY = text(f"""
    SELECT count(*) AS n, count(*) FILTER (WHERE status = 'released') AS dispatched,
           count(*) FILTER (WHERE status = 'running') AS running
      FROM jobs WHERE {JOB_IN_FLIGHT} AND project_id = :project
""")  # noqa: S608 - a constant of ours

# What holds all of them is looked up once; `filtering.closed_to` says the same beside a single job.
_LINES = text("""
    WITH held AS (
        SELECT EXISTS (SELECT FROM pauses WHERE scope = 'all') AS all_,
               EXISTS (SELECT FROM pauses WHERE scope = 'project' AND name = :project_name) AS project,
               ARRAY (SELECT name FROM pauses WHERE scope = 'model') AS models,
               (SELECT reason FROM gates WHERE project_id IS NULL OR project_id = :project
                 ORDER BY closed_at LIMIT 1) AS gate,
               (SELECT cap <= :in_flight FROM projects WHERE id = :project) AS capped
    )
    SELECT reason, count(*) AS n, extract(epoch FROM now() - min(created_at)) AS oldest
      FROM (SELECT created_at, CASE
                   WHEN coalesce(run_after > now(), true) THEN coalesce(waiting_reason, 'backoff')
                   WHEN all_ OR phase = 'call' AND (project OR model = ANY (models)) THEN 'paused'
                   WHEN phase = 'keep' THEN 'queue'
                   ELSE coalesce(gate, CASE WHEN capped THEN 'project_cap' END, 'queue') END AS reason
              FROM (SELECT created_at, run_after, waiting_reason, phase, model FROM jobs
                     WHERE project_id = :project AND status = 'queued' LIMIT :most) waiting
             CROSS JOIN held) told
     GROUP BY 1 ORDER BY 2 DESC, 1
""")
