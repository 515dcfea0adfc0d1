"""Long polls: clients wait on the doorbell, not on the database.

A ring may be lost, so once every few seconds one query looks at every job that anybody waits for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

import structlog
from fastapi import Request

from api.contract.formats.etags import matches
from api.sharing.readings import Readings
from models import jobs
from models.errors import NotFound, Unavailable
from models.images import fetches
from models.jobs import Snapshot, batches
from models.jobs.batches import Standing
from models.platform.db import Database, Transaction
from models.platform.doorbell import Doorbell
from models.platform.doorbell.waiters import Waiter
from models.schema import Fetch
from models.webhooks import deliveries
from models.webhooks.deliveries import Logged

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SWEEP = 5.0  # seconds that a lost ring costs at most
_SWEEP_AGAIN = 1.0  # after a sweep that Postgres did not answer
_SIGN_OF_LIFE = timedelta(seconds=15)  # proxies close what is silent for 30 s or 60 s
_ALONE = ("delivery", "batch", "fetch")  # topics of which few wait
_OVER: Callable[[Snapshot | Standing], bool] = attrgetter("over")
_UNDER_WAY = {"pending", "sending"}

Found = TypeVar("Found")
Told = TypeVar("Told", Snapshot, Standing)  # each names its state


class Waiting:
    """The clients of one process that wait for jobs, and for what became of a delivery."""

    def __init__(self, database: Database, doorbell: Doorbell, readings: Readings) -> None:
        self._database = database
        self._doorbell = doorbell
        self._jobs = readings
        self.draining = False

    async def terminal(
        self,
        request: Request,
        project_id: UUID,
        job_id: UUID,
        patience: timedelta,
        seen: str | None = None,
    ) -> Snapshot:
        """Return a job when it is terminal, or as it is when the patience ends. Raises `NotFound`.

        A caller that does not wait and has `seen` it as it is (`If-None-Match`) gets what the ETag tells.
        """
        if seen and not patience:
            found = await self._jobs.version(project_id, job_id)
            if matches(seen, found.etag):
                return found
        if not patience:
            return await self._jobs.whole(project_id, job_id)
        return await self._until(
            _OVER,
            partial(self._jobs.whole, project_id, job_id),
            request,
            self._doorbell.waiter("job", str(job_id)),
            patience,
        )

    async def tried(
        self, request: Request, project_id: UUID, delivery_id: UUID, patience: timedelta
    ) -> Logged:
        """Return a delivery when a try has met something or none will be made, or as `terminal` does."""
        return await self._until(
            lambda found: bool(found.tries) or found.delivery.state not in _UNDER_WAY,
            lambda: self._once(lambda tx: deliveries.read(tx, project_id, delivery_id)),
            request,
            self._doorbell.waiter("delivery", str(delivery_id)),
            patience,
        )

    async def fetched(
        self, request: Request, project_id: UUID, fetch_id: UUID, patience: timedelta
    ) -> Fetch:
        """Return what became of a picture that is fetched for a file, or as `terminal` does."""
        return await self._until(
            lambda found: found.finished_at is not None,
            lambda: self._once(lambda tx: fetches.find(tx, project_id, fetch_id)),
            request,
            self._doorbell.waiter("fetch", str(fetch_id)),
            patience,
        )

    async def batch(
        self, request: Request, project_id: UUID, batch_id: UUID, patience: timedelta
    ) -> Standing:
        """Return a batch when it is over, or as `terminal` does."""
        return await self._until(
            _OVER,
            partial(self.read_batch, project_id, batch_id),
            request,
            self._doorbell.waiter("batch", str(batch_id)),
            patience,
        )

    async def read_batch(self, project_id: UUID, batch_id: UUID) -> Standing:
        """Return a batch as it is. Raises `NotFound`."""
        return await self._once(lambda tx: batches.read(tx, project_id, batch_id))

    async def batch_changes(
        self, project_id: UUID, batch_id: UUID, seen: str | None
    ) -> AsyncIterator[Standing | None]:
        """Return a batch whose state is not named `seen`, then at each change, as `changes` does a job."""
        async for each in self._changes(
            lambda: self.read_batch(project_id, batch_id),
            self._doorbell.waiter("batch", str(batch_id)),
            seen,
        ):
            yield each

    async def changes(
        self, project_id: UUID, job_id: UUID, seen: str | None
    ) -> AsyncIterator[Snapshot | None]:
        """Return a job whose state is not named `seen`, then at each change, until it has ended.

        None is a sign of life; then the job is read too, for a ring may be lost. It ends early when
        the job is gone, Postgres is away or this process drains: who listens comes back.
        """
        async for each in self._changes(
            partial(self._jobs.whole, project_id, job_id),
            self._doorbell.waiter("job", str(job_id)),
            seen,
        ):
            yield each

    async def _changes(
        self,
        read: Callable[[], Awaitable[Told]],
        waiter: Waiter,
        seen: str | None,
    ) -> AsyncIterator[Told | None]:
        with waiter as bell:
            while True:
                try:
                    found = await read()
                except (NotFound, Unavailable):
                    return
                if found.etag != seen:
                    yield found
                    seen = found.etag
                if found.over or self.draining:
                    return
                if not await bell.wait(_SIGN_OF_LIFE):
                    yield None

    async def _until(
        self,
        done: Callable[[Found], bool],
        read: Callable[[], Awaitable[Found]],
        request: Request,
        waiter: Waiter,
        patience: timedelta,
    ) -> Found:
        """Read again at each ring until it is done; no transaction is open while nothing rings.

        The patience ends early when the client goes away: nobody holds a place for who has left.
        """
        clock = asyncio.get_running_loop().time
        until, gone = clock() + patience.total_seconds(), False
        with waiter as bell:
            while True:
                found = await read()
                left = until - clock()
                if done(found) or left <= 0 or gone or self.draining:
                    return found
                del found  # it is read again, and thousands wait
                async with _rung_at_departure(request, bell):
                    await bell.wait(timedelta(seconds=left))
                gone = await request.is_disconnected()

    async def _once(self, read: Callable[[Transaction], Awaitable[Found]]) -> Found:
        async with self._database.transaction() as tx:
            return await read(tx)

    def drain(self) -> None:
        """Answer everybody now: this process is about to stop, and another one will hold them."""
        self.draining = True
        for topic in ("job", *_ALONE):
            for key in self._doorbell.waiting(topic):
                self._doorbell.wake(topic, key)

    async def sweep_for_ever(self) -> None:
        """Wake the requests that wait for a job whose end was not heard of; until cancelled.

        Those who wait for something else are few, and look for themselves.
        """
        pause = _SWEEP
        while True:
            await asyncio.sleep(pause)
            for topic in _ALONE:
                for key in self._doorbell.waiting(topic):
                    self._doorbell.wake(topic, key)
            waited_for = [UUID(key) for key in self._doorbell.waiting("job")]
            if not waited_for:
                continue
            try:
                async with self._database.transaction() as tx:
                    finished = await jobs.finished(tx, waited_for)
            except Unavailable as away:
                log.warning("waiting.sweep_failed", reason=away.detail)
                pause = _SWEEP_AGAIN
                continue
            except Exception:
                # Who waits has the next sweep, and the doorbell.
                log.exception("waiting.sweep_failed")
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
