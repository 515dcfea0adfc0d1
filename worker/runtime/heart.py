"""The heartbeat: one UPDATE renews the leases of all that a worker has in flight.

On a connection of its own, so that it never waits behind the work, and to the very end: also while the
worker drains.
"""

import asyncio

import structlog

from models import jobs
from models.coordination import processes, workers
from models.errors import Unavailable
from models.ids import JOB, text
from worker.runtime import metrics
from worker.runtime.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SOONER = 4  # times: a Postgres that was away takes leases with it, the longer the more


async def beat_for_ever(context: Context) -> None:
    """Renew and report every `DARKROOM_HEARTBEAT`, until cancelled; sooner after one was missed."""
    regular = context.settings.heartbeat.total_seconds()
    while True:
        wait = regular
        try:
            await beat(context)
        except Unavailable as away:
            log.warning("heartbeat.missed", reason=away.detail)
            wait = regular / _SOONER
        await asyncio.sleep(wait)


async def beat(context: Context) -> None:
    """Renew every lease, and say what this worker can take."""
    settings, running = context.settings, list(context.running)
    async with context.heartbeats.transaction() as tx:
        await workers.report(
            tx,
            context.worker,
            # What was taken from it goes on all the same, to its answer, in a place of its own.
            generate_slots=max(settings.generate_slots - len(context.strays), 0),
            deliver_slots=settings.deliver_slots,
            draining=context.draining or not context.consuming,
        )
        await processes.report(tx, context.worker, "worker")
        renewed = await jobs.renew(tx, running, settings.lease_run)
    context.heart.beat()
    for ref in running:
        if ref not in renewed and ref in context.running:
            metrics.LEASES_LOST.inc()
            log.warning("lease.lost", job_id=text(JOB, ref.job_id), fence=ref.fence)
            context.running.discard(ref)  # for good: a fence only grows
            context.strays.add(ref)


async def leave(context: Context) -> None:
    """Delete this worker's report, so that nothing is dispatched for it any more."""
    try:
        async with context.heartbeats.transaction() as tx:
            await workers.leave(tx, context.worker)
            await processes.leave(tx, context.worker)
    except Unavailable:
        log.warning("worker.leave_not_recorded", worker=context.worker)
