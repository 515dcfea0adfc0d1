"""Long polls: clients wait on the doorbell, not on the database.

A ring may be lost, so once every few seconds one query looks at every job that anybody waits for.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog

from models import jobs
from models.db import Database
from models.doorbell import Doorbell
from models.errors import Unavailable
from models.jobs import Snapshot
from models.states import TERMINAL

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SWEEP = 5.0  # seconds that a lost ring costs at most


class Waiting:
    """The clients of one process that wait for jobs."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell
        self.draining = False

    async def terminal(self, project_id: UUID, job_id: UUID, patience: timedelta) -> Snapshot:
        """Give a job when it is terminal, or as it is when the patience ends. Raises `NotFound`."""
        clock = asyncio.get_running_loop().time
        until = clock() + patience.total_seconds()
        with self._doorbell.waiter("job", str(job_id)) as bell:
            while True:
                async with self._database.transaction() as tx:
                    found = await jobs.snapshot(tx, project_id, job_id)
                left = until - clock()
                if found.job.status in TERMINAL or left <= 0 or self.draining:
                    return found
                await bell.wait(timedelta(seconds=left))

    def drain(self) -> None:
        """Answer everybody now: this process is about to stop, and another one will hold them."""
        self.draining = True
        for key in self._doorbell.waiting("job"):
            self._doorbell.wake("job", key)

    async def sweep_for_ever(self) -> None:
        """Wake whoever waits for a job that has ended unheard; until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP)
            waited_for = [UUID(key) for key in self._doorbell.waiting("job")]
            if not waited_for:
                continue
            try:
                async with self._database.transaction() as tx:
                    finished = await jobs.finished(tx, waited_for)
            except Unavailable as away:
                log.warning("waiting.sweep", detail=away.detail)
                continue
            for job_id in finished:
                self._doorbell.wake("job", str(job_id))
