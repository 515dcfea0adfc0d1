"""`python -m worker`: a Celery worker with one event loop; after SIGTERM it finishes its work."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them. Until Celery
# takes SIGTERM over, nothing is in flight.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import gc

from models.platform.arguments import take_none
from models.platform.lean import load_redis

if __name__ == "__main__":
    take_none("worker", "Make paid calls, keep images and deliver webhooks.")
    gc.disable()  # what is loaded stays: `collect_less` puts it aside, and turns this on again
    load_redis()

import asyncio
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from celery import signals
from celery.platforms import SecurityWarning
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterError
from sqlalchemy import text as sql

from models import settings
from models.coordination import processes
from models.errors import DarkroomError, Unavailable
from models.ids import JOB, text
from models.platform import descriptors, metrics, tracing
from models.platform.db import premises
from models.platform.logs import configure
from models.platform.memory import collect_less, spare_memory
from worker.runtime import broker, health, heart, storeroom, vitals
from worker.runtime.app import Worker, consumer
from worker.runtime.context import Context
from worker.runtime.loop import loop
from worker.runtime.pulse import Watch

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LAST_WORDS = 10  # seconds before the grace ends, in which to say what is abandoned
_LEAVE = 3  # seconds before the grace ends, in which to close everything in good order
# Seconds for Postgres and Redis to hear that it leaves, when they are silent; and at the end of the grace.
_GOODBYE, _LAST_MOMENT = 5.0, 0.5
_AGAIN = 1.0  # seconds until a Postgres that went away between two looks is looked at again
_DRAWN = timedelta(seconds=2)  # for thumbnails that are asked for; the others are later
_BEATS = 3  # heartbeats that may be missed


def main() -> int:
    """Run a worker; 2 and one line when it cannot start."""
    try:
        loaded = settings.load()
        configure("worker", loaded.log_level)
        metrics.identify("worker")
        tracing.start("worker", loaded)
        descriptors.raise_limit()
        context = loop.start(loaded, processes.name())
        watched: list[Watch] = []
        loop.open(_health(context, watched))
        loop.run(_be_ready(context))
        watched += _watches(context)
        vitals.export(context)
    except DarkroomError as refused:
        print(f"darkroom worker: {refused}", file=sys.stderr)
        if loop.context is not None:
            loop.stop()
        return 2
    loop.spawn(heart.beat_for_ever(context))
    loop.spawn(storeroom.watch(context))
    _hear_celery(context)
    # Celery warns root about pickled messages; ours are JSON, and nothing else is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    broker.appetite.takes = context.flight.takes
    collect_less()
    _say_started(context)
    try:
        consumer(loaded, context.worker).start()
    finally:
        status = 0 if context.draining else 1
        if status:
            print(
                f"darkroom worker: it takes no messages from Redis any more: {_why()}",
                file=sys.stderr,
            )
            loop.spawn(_drain(context))
        loop.run(context.flight.landed())  # Celery is done with a message when its work has begun
        _leave(context, status)
    return status


def _say_started(context: Context) -> None:
    log.info("worker.started", worker=context.worker)
    if (why := settings.doubt(context.settings, "worker")) is not None:
        log.warning("settings.doubtful", reason=why)


def _hear_celery(context: Context) -> None:
    """Take work once Celery consumes, and drain when it is told to stop."""
    signals.worker_ready.connect(lambda **_: loop.spawn(_take_work(context)), weak=False)
    signals.worker_shutting_down.connect(lambda **_: loop.spawn(_drain(context)), weak=False)


def _leave(context: Context, status: int) -> None:
    """Sign off, and close everything. Nothing is in flight, so no silent server is waited for."""
    left = context.leaves_by - time.monotonic()
    late = _let_go_after(max(min(_GOODBYE, left), _LAST_MOMENT), context, status)
    loop.run(context.thumbnails.drawn(_DRAWN))
    loop.run(heart.leave(context))  # the last: the heart beats on, and would report it once more
    loop.stop()
    late.cancel()
    log.info("worker.stopped", worker=context.worker)
    tracing.stop()


def _let_go_after(seconds: float, context: Context, status: int) -> threading.Timer:
    """End the process by then; its sessions in Postgres are rolled back when Postgres notices."""

    def let_go() -> None:
        log.warning(
            "worker.stop_forced", worker=context.worker, reason="Postgres or Redis is silent"
        )
        os._exit(status)

    timer = threading.Timer(seconds, let_go)
    timer.daemon = True
    timer.start()
    return timer


def _why() -> str:
    failure = Worker.failure
    if isinstance(failure, AskError | ClusterCrossSlotError | ClusterError):
        return "REDIS_URL leads to a Redis Cluster, which Celery cannot use"
    return "its log says why" if failure is None else f"{type(failure).__name__}: {failure}"


async def _be_ready(context: Context) -> None:
    """Wait for Postgres, the schema and the store, saying so; then report, without room for work yet."""

    def tell(why: str) -> None:
        context.waits_for = f"its database: {why}"

    while True:
        await premises.wait(context.database, context.vault, tell)
        try:
            await storeroom.wait_until_it_takes(context)
            return await heart.beat(context)
        except Unavailable as away:  # it went away again
            log.warning("waiting.postgres", reason=away.detail, again_in=_AGAIN)
            await asyncio.sleep(_AGAIN)


def _health(context: Context, watched: Sequence[Watch]) -> AbstractAsyncContextManager[None]:
    """Answer the platform, from before Postgres is there: it must not restart who waits."""

    async def healthy() -> str | None:
        if context.draining:  # the consumer has stopped, as it should
            return None
        troubles = [await each.check() for each in watched]
        return "; ".join(each for each in troubles if each is not None) or None

    async def ready() -> str | None:
        if context.draining:
            return "draining"
        if not watched:
            return f"waits for {context.waits_for}"
        # A Redis that is away makes nobody unready: messages are taken when it is back.
        starts = not context.consuming and await context.doorbell.answers()
        return "takes no messages yet" if starts else context.doorbell.refusal

    def shows() -> dict[str, object]:
        return {"in_flight": context.flight.counts}

    return health.serve(context.settings, healthy=healthy, ready=ready, shows=shows)


def _watches(context: Context) -> list[Watch]:
    """Watch what works unseen. A loop that is stuck or dead answers nothing, which says it as well."""

    async def postgres() -> bool:
        try:
            async with context.database.transaction() as tx:
                await tx.execute(sql("SELECT 1"))
        except Unavailable:
            return False
        return True

    patience, beat = context.settings.deaf_after, context.settings.heartbeat
    return [
        Watch("the consumer gets no answer from Redis, which answers others,",
              broker.pulse, context.doorbell.answers, patience),
        Watch("no heartbeat gets through to Postgres, which answers others,",
              context.heart, postgres, max(patience, _BEATS * beat)),
    ]  # fmt: skip


async def _take_work(context: Context) -> None:
    """Report for work at once, now that messages are taken."""
    context.consuming = True
    await _report(context)


async def _drain(context: Context) -> None:
    """Take nothing more, finish what is in flight, and log what the grace was too short for."""
    if context.draining:  # told twice
        return
    context.draining = True
    grace = context.settings.grace.total_seconds()
    log.info("worker.draining", in_flight=context.flight.counts, grace=grace)
    context.leaves_by = time.monotonic() + grace
    loop.spawn(_report(context))  # a Postgres that is silent must not stop this clock
    await asyncio.sleep(max(grace - _LAST_WORDS, 0))
    for ref in context.running:
        log.error("worker.abandons", job_id=text(JOB, ref.job_id), attempt=ref.number)
    # An answer may come to the last; and then the lease passes the job on to others.
    await asyncio.sleep(max(min(grace, _LAST_WORDS) - _LEAVE, 0))
    loop.abandon()


async def _report(context: Context) -> None:
    """Report at once what has changed; without Postgres the next heartbeat does."""
    try:
        await heart.beat(context)
    except Unavailable as away:
        log.warning("heartbeat.missed", reason=away.detail)


if __name__ == "__main__":
    spare_memory()
    sys.exit(main())
