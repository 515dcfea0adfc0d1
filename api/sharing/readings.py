"""Jobs that are read: those that one process' requests ask for meanwhile are one question to Postgres.

It takes three statements for all of them, where each alone would take three: a process answers two thirds
more polls so (decision 58).
"""

from functools import partial
from uuid import UUID

from models import jobs
from models.jobs import Snapshot
from models.platform.db import Database
from models.platform.together import Together

_TOGETHER = 100  # jobs of one question


class Readings:
    """The jobs of all projects, read by one process."""

    def __init__(self, database: Database) -> None:
        direct = database.direct
        self._whole = Together(partial(jobs.read_several, direct), most=_TOGETHER)
        self._versions = Together(partial(jobs.read_versions, direct), most=_TOGETHER)

    async def whole(self, project_id: UUID, job_id: UUID) -> Snapshot:
        """Return a job as it is shown. Raises `NotFound`, also for another project's."""
        return jobs.demanded(await self._whole.find((project_id, job_id)))

    async def version(self, project_id: UUID, job_id: UUID) -> Snapshot:
        """Return as much of a job as its ETag tells. Raises `NotFound`."""
        return jobs.demanded(await self._versions.find((project_id, job_id)))
