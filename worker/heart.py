"""The heartbeat: one UPDATE renews the leases of all that a worker has in flight.

On a connection of its own, so that it never waits behind the work, and to the very end: also while the
worker drains.
"""

import asyncio

import structlog

from models import jobs, workers
from models.errors import Unavailable
from worker import metrics
from worker.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def beat_for_ever(context: Context) -> None:
    """Renew and report every `DARKROOM_HEARTBEAT`, until cancelled."""
    while True:
        try:
            await beat(context)
        except Unavailable as away:
            log.warning("heartbeat.missed", detail=away.detail)
        await asyncio.sleep(context.settings.heartbeat.total_seconds())


async def beat(context: Context) -> None:
    """Renew every lease, and say what this worker can take."""
    settings, running = context.settings, list(context.running)
    async with context.heartbeats.transaction() as tx:
        await workers.report(
            tx,
            context.worker,
            generate_slots=settings.generate_slots,
            deliver_slots=settings.deliver_slots,
            draining=context.draining,
        )
        renewed = await jobs.renew(tx, running, settings.lease_run)
    for ref in running:
        if ref not in renewed and ref in context.running:
            metrics.LEASES_LOST.inc()
            log.warning("lease.lost", job_id=str(ref.job_id), fence=ref.fence)


async def leave(context: Context) -> None:
    """Say goodbye, so that nothing is released for this worker any more."""
    try:
        async with context.heartbeats.transaction() as tx:
            await workers.leave(tx, context.worker)
    except Unavailable:
        log.warning("worker.left_unsaid", worker=context.worker)
