"""What is in flight, and what may be: over all, of a project, and of a concurrency key."""

from dataclasses import dataclass

from sqlalchemy import text

from models.coordination.workers import SLOTS
from models.jobs.queue import sharing
from models.platform.db import Transaction
from models.provider import limits
from models.schema import Job, Project
from models.settings import Settings
from models.states import JOB_IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What is in flight, over all, of the job's project and of its key; and what may be."""

    limit: limits.LimitState
    busy: int
    of_project: int
    of_key: int
    slots: int
    others: bool  # that had a turn lately: some places are kept for them

    @property
    def own(self) -> int:
        """Return how many places the project may hold, of those that the others have left."""
        places = min(self.slots, self.limit.calls) - (self.busy - self.of_project)
        return places - places // sharing.KEPT if self.others else places

    def free(self, project: Project) -> int:
        """Return how many more calls of this project might begin right now."""
        rooms = [self.limit.calls - self.limit.in_flight, self.slots - self.busy]
        rooms += [self.own - self.of_project]
        rooms += [] if project.cap is None else [project.cap - self.of_project]
        return max(0, min(rooms))


async def of(tx: Transaction, settings: Settings, job: Job) -> Occupancy:
    """Count what is in flight, and what may be."""
    asked = {"project": job.project_id, "key": job.concurrency_key, "seen": settings.worker_seen}
    row = (await tx.execute(_TAKEN, asked)).one()
    limit = await limits.read(tx, settings)
    return Occupancy(limit, row.busy, row.of_project, row.of_key, row.slots, row.others)


_TAKEN = text(f"""
    SELECT busy.*, w.generate_slots AS slots,
           EXISTS ({sharing.LATELY_SERVED} AND project_id <> :project) AS others
      FROM (SELECT count(*) AS busy, count(*) FILTER (WHERE project_id = :project) AS of_project,
                   count(*) FILTER (WHERE project_id = :project AND concurrency_key = :key) AS of_key
              FROM jobs WHERE {JOB_IN_FLIGHT}) busy,
           ({SLOTS}) w
""")  # noqa: S608 - constants of `sharing`
