"""Long polls: clients wait on the doorbell, not on the database.

A ring may be lost, so once every few seconds one query looks at every job that anybody waits for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import structlog
from fastapi import Request

from models import jobs
from models.db import Database
from models.doorbell import Doorbell
from models.errors import Unavailable
from models.jobs import Snapshot
from models.states import TERMINAL
from models.waiters import Waiter

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SWEEP = 5.0  # seconds that a lost ring costs at most
_SWEEP_AGAIN = 1.0  # after a sweep that Postgres did not answer


class Waiting:
    """The clients of one process that wait for jobs."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell
        self.draining = False

    async def terminal(
        self, request: Request, project_id: UUID, job_id: UUID, patience: timedelta
    ) -> Snapshot:
        """Give a job when it is terminal, or as it is when the patience ends. Raises `NotFound`.

        The patience ends early when the client goes away: nobody holds a place for who has left.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + patience.total_seconds()
        with self._doorbell.waiter("job", str(job_id)) as bell:
            while True:
                async with self._database.transaction() as tx:
                    found = await jobs.snapshot(tx, project_id, job_id)
                left = until - clock()
                if found.job.status in TERMINAL or left <= 0 or self.draining:
                    return found
                async with _rung_at_departure(request, bell):
                    await bell.wait(timedelta(seconds=left))
                if await request.is_disconnected():
                    return found

    def drain(self) -> None:
        """Answer everybody now: this process is about to stop, and another one will hold them."""
        self.draining = True
        for key in self._doorbell.waiting("job"):
            self._doorbell.wake("job", key)

    async def sweep_for_ever(self) -> None:
        """Wake whoever waits for a job that has ended unheard; until cancelled."""
        pause = _SWEEP
        while True:
            await asyncio.sleep(pause)
            waited_for = [UUID(key) for key in self._doorbell.waiting("job")]
            if not waited_for:
                continue
            try:
                async with self._database.transaction() as tx:
                    finished = await jobs.finished(tx, waited_for)
            except Unavailable as away:
                log.warning("waiting.sweep", detail=away.detail)
                pause = _SWEEP_AGAIN
                continue
            pause = _SWEEP
            for job_id in finished:
                self._doorbell.wake("job", str(job_id))


@asynccontextmanager
async def _rung_at_departure(request: Request, bell: Waiter) -> AsyncIterator[None]:
    """Wake a waiter when its client hangs up; uvicorn lets the request go on as if nothing were."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue  # the end of a body that nobody sent
        bell.wake()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})
