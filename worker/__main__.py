"""`python -m worker`: a Celery worker with one event loop; after SIGTERM it finishes its work."""

import asyncio
import os
import socket
import sys
import warnings

import structlog
from celery import signals
from celery.platforms import SecurityWarning

from models import migrate, settings
from models.errors import DarkroomError, Misconfigured, Unavailable
from models.ids import new
from models.logs import configure
from models.settings import Settings
from worker import health, heart
from worker.app import DELIVER, GENERATE, connect
from worker.context import Context
from worker.loop import loop

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LAST_WORDS = 10  # seconds before the grace ends, in which to say what is abandoned
_WAIT = 2.0  # seconds between two looks at a Postgres that is not there yet


def main() -> int:
    """Run a worker; 2 and one line when it cannot start."""
    try:
        loaded = settings.load()
        configure("worker", loaded.log_level)
        name = f"{socket.gethostname()}-{os.getpid()}-{new().hex[-6:]}"
        context = loop.start(loaded, name)
        loop.run(_be_ready(context))
    except DarkroomError as refused:
        print(f"darkroom worker: {refused}", file=sys.stderr)
        return 2
    loop.spawn(heart.beat_for_ever(context))
    loop.spawn(_serve_health(context))
    signals.worker_shutting_down.connect(lambda **_: loop.spawn(_drain(context)), weak=False)
    # Celery warns root about pickled messages; ours are JSON, and nothing else is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    log.info("worker.started", worker=name)
    try:
        connect(loaded).worker_main(_arguments(loaded, name))
    finally:
        loop.run(heart.leave(context))
        loop.stop()
        log.info("worker.stopped", worker=name)
    return 0


def _arguments(loaded: Settings, name: str) -> list[str]:
    slots = loaded.generate_slots + loaded.deliver_slots
    return [
        "--quiet",
        "worker",
        "--pool=threads",
        f"--concurrency={slots}",
        f"--queues={GENERATE},{DELIVER}",
        f"--hostname={name}",
        f"--loglevel={loaded.log_level}",
        "--without-gossip",
        "--without-mingle",
    ]


async def _be_ready(context: Context) -> None:
    """Wait for Postgres, saying so; then insist on the schema, and report for work."""
    while True:
        try:
            async with context.database.transaction() as tx:
                await migrate.demand_schema(tx)
            await heart.beat(context)
        except Unavailable as away:
            log.warning("waiting.postgres", detail=away.detail)
            await asyncio.sleep(_WAIT)
        else:
            return


async def _serve_health(context: Context) -> None:
    async def healthy() -> str | None:
        return None

    async def ready() -> str | None:
        return "draining" if context.draining else None

    try:
        async with health.serve(context.settings, healthy=healthy, ready=ready):
            await asyncio.Event().wait()
    except Misconfigured as taken:
        log.warning("health.not_served", detail=str(taken))


async def _drain(context: Context) -> None:
    """Take nothing more, finish what is in flight, and say what the grace was too short for."""
    context.draining = True
    grace = context.settings.grace.total_seconds()
    log.info("worker.draining", in_flight=len(context.running), grace=grace)
    await heart.beat(context)
    await asyncio.sleep(max(grace - _LAST_WORDS, 0))
    for ref in context.running:
        log.error("worker.abandons", job_id=str(ref.job_id), attempt=ref.number)


if __name__ == "__main__":
    sys.exit(main())
