"""Handing work to Celery: after the commit, in a thread, and never for longer than a few seconds."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_PAUSE = 1.0  # seconds between two looks at a broker that does not answer

Call = tuple[str, list[object]]


async def publish(celery: Celery, calls: Sequence[Call]) -> int:
    """Send messages; gives how many went out before Redis failed (all of them, on a good day)."""
    return await asyncio.to_thread(_publish, celery, calls)


async def wait_for_broker(celery: Celery) -> None:
    """Return when the broker answers again; until then nothing is worth handing out."""
    while not await asyncio.to_thread(_answers, celery):  # noqa: ASYNC110 - nobody rings for this
        await asyncio.sleep(_PAUSE)


def _publish(celery: Celery, calls: Sequence[Call]) -> int:
    sent, started = 0, time.monotonic()
    try:
        with celery.producer_or_acquire() as producer:
            for task, arguments in calls:
                celery.send_task(task, args=arguments, producer=producer, retry=False)
                sent += 1
    except (OperationalError, RedisError, OSError) as away:
        log.warning(
            "redis.away",
            error=type(away).__name__,
            unsent=len(calls) - sent,
            seconds=round(time.monotonic() - started, 3),
        )
    return sent


def _answers(celery: Celery) -> bool:
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            connection.default_channel.client.ping()
    except (OperationalError, RedisError, OSError):
        return False
    return True
