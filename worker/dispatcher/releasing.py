"""Releases queued jobs, in batches, as far as the limits and the workers' free slots allow.

This is where shares between projects and the discovered limit of the provider decide too: the limit is
an argument of `workers.free_to_generate`, the order is that of `jobs.release`.
"""

from collections.abc import Sequence

import structlog

from models import duties, ids, jobs, workers
from models.jobs import Release
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import publish, wait_for_broker

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 200  # messages of one publish: Redis takes them in some 50 ms


async def turn(desk: Desk) -> bool:
    """Release one batch; True when there may be more to release right away."""
    settings = desk.settings
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "release") or await duties.closed_gates(tx):
            return False
        free = await workers.free_to_generate(
            tx, seen=settings.worker_seen, provider_limit=settings.provider_limit
        )
        slots = min(free, _BATCH)
        released = await jobs.release(
            tx, slots, lease=settings.lease_release, typical_call=settings.typical_call
        )
    if not released:
        return False
    sent = await publish(
        desk.celery, [("generate", [str(each.job_id), each.fence]) for each in released]
    )
    for each in released[:sent]:
        log.info("job.released", job_id=ids.text(ids.JOB, each.job_id), fence=each.fence)
    if sent < len(released):
        await _hand_back(desk, released[sent:])
        return False
    return len(released) == slots < free


async def _hand_back(desk: Desk, unsent: Sequence[Release]) -> None:
    """Put back what could not be published, and release nothing until Redis answers again."""
    async with desk.database.transaction() as tx:
        await jobs.hand_back(tx, unsent)
    await wait_for_broker(desk.celery)
