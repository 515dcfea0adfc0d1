"""What a worker has in flight on its one loop: counted, so that no more is taken, and awaited at its end.

Celery is done with a message as soon as what it carries has begun; from there on its lease watches over it.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Literal, get_args

import structlog
from prometheus_client import Gauge

from models.platform import tracing
from models.settings import Settings
from worker.runtime import metrics

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Kind = Literal["generate", "deliver"]

_GAUGES: Mapping[Kind, Gauge] = {
    "generate": metrics.IN_FLIGHT,
    "deliver": metrics.DELIVERIES_IN_FLIGHT,
}


class Flight:
    """The work that has begun: a coroutine for each job and each delivery."""

    def __init__(self, settings: Settings) -> None:
        self._slots = {"generate": settings.generate_slots, "deliver": settings.deliver_slots}
        self._tasks: dict[Kind, set[asyncio.Task[None]]] = {kind: set() for kind in get_args(Kind)}

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs and deliveries are in flight; any thread may ask."""
        return {kind: len(tasks) for kind, tasks in self._tasks.items()}

    def room(self, kind: Kind) -> int:
        """Return how many more of a kind there is a place for."""
        return max(self._slots[kind] - len(self._tasks[kind]), 0)

    def takes(self, queue: str) -> bool:
        """Return whether there is a place for more of what comes by a queue; any thread may ask."""
        return self.counts.get(queue, 0) < self._slots.get(queue, 1)

    def begin(self, kind: Kind, work: Coroutine[object, object, None]) -> None:
        """Start a coroutine and go on; what goes wrong in it is logged."""
        task = asyncio.create_task(_told(work))
        self._tasks[kind].add(task)
        _GAUGES[kind].inc()
        task.add_done_callback(partial(self._ended, kind))

    async def landed(self) -> None:
        """Wait until nothing is in flight any more."""
        while tasks := self._all():
            await asyncio.wait(tasks)

    def abandon(self) -> None:
        """Cancel all of it: the time to see it through is over."""
        for task in self._all():
            task.cancel()

    def _ended(self, kind: Kind, task: asyncio.Task[None]) -> None:
        self._tasks[kind].discard(task)
        _GAUGES[kind].dec()

    def _all(self) -> set[asyncio.Task[None]]:
        return {task for tasks in self._tasks.values() for task in tasks}


async def _told(work: Coroutine[object, object, None]) -> None:
    tracing.afresh()
    try:
        await work
    except Exception:
        log.exception("work.failed")
