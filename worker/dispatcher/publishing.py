"""Handing work to Celery: after the commit, in a thread, and never for longer than a few seconds.

A broker that takes nothing is away, or out of memory, or a replica: each answers differently, and some
answer PING all the while. So nothing is asked of it but to take a message, less and less often.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from prometheus_client import Counter
from redis.exceptions import RedisError

from models.coordination.workers import Fleet
from models.platform.db.failures import said

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_REFUSED = Counter(
    "darkroom_broker_refused_total", "Times that Redis did not take messages for the workers"
)
_FIRST, _LONGEST = timedelta(seconds=0.25), timedelta(seconds=5)
_DOUBLINGS = 10  # beyond the longest wait

Call = tuple[str, list[object]]
Thing = tuple[UUID, int]  # a job and its fence, or a delivery and its try


class Patience:
    """Leaves a broker in peace that took no message; the wait doubles from 0.25 s to 5 s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusals = 0  # in a row
        self._until = 0.0

    @property
    def left(self) -> timedelta | None:
        """How long nothing is to be published yet; None when it may be tried."""
        left = self._until - self._clock()
        return timedelta(seconds=left) if self._refusals and left > 0 else None

    def batch(self, most: int) -> int:
        """Return how many messages to try: one, until the broker has taken one again."""
        return min(most, 1) if self._refusals else most

    def taken(self) -> None:
        """All messages were taken: nothing is waited for any more."""
        self._refusals = 0

    def refused(self) -> timedelta:
        """Messages were not taken; returns how long to wait now."""
        wait = min(_FIRST * (1 << min(self._refusals, _DOUBLINGS)), _LONGEST)
        self._refusals += 1
        self._until = self._clock() + wait.total_seconds()
        return wait


async def hand_out(
    celery: Celery,
    patience: Patience,
    task: Literal["generate", "deliver"],
    things: Sequence[Thing],
    fleet: Fleet,
) -> int:
    """Send things to workers, a share of them in each message; returns how many went out, as `publish`.

    Workers take messages from one queue as they have places. So each message has the share of one
    worker, and no two of them are for the same one unless the others are full. Of few things some workers
    get none.
    """
    if not things:
        return 0
    size = fleet.share(len(things), first=all(number == 1 for _, number in things))
    bundles = [things[at : at + size] for at in range(0, len(things), size)]
    sent = await publish(celery, patience, [(task, _written(each)) for each in bundles])
    return min(sent * size, len(things))


def _written(bundle: Sequence[Thing]) -> list[object]:
    """Write the arguments of a message; of what is alone in the form that older workers know too."""
    written: list[list[object]] = [[str(id_), number] for id_, number in bundle]
    return [written] if len(written) > 1 else list(written[0])


async def publish(celery: Celery, patience: Patience, calls: Sequence[Call]) -> int:
    """Send messages; returns how many went out before Redis failed (all of them, on a good day)."""
    started = time.monotonic()
    sent, failed = await asyncio.to_thread(_publish, celery, calls)
    if failed is None:
        patience.taken()
        return sent
    _REFUSED.inc()
    log.warning(
        "redis.away",
        reason=said(failed),
        unsent=len(calls) - sent,
        seconds=round(time.monotonic() - started, 3),
        retry_in=patience.refused().total_seconds(),
    )
    return sent


def _publish(celery: Celery, calls: Sequence[Call]) -> tuple[int, Exception | None]:
    sent = 0
    try:
        with celery.producer_or_acquire() as producer:
            for task, arguments in calls:
                celery.send_task(task, args=arguments, producer=producer, retry=False)
                sent += 1
    except (OperationalError, RedisError, OSError) as failed:
        return sent, failed
    return sent, None
