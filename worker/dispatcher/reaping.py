"""Takes back what expired: leases of jobs and deliveries, queue ttls and deadlines."""

import structlog

from models import deliveries, duties, jobs, workers
from worker.dispatcher.desk import Desk

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 100


async def turn(desk: Desk) -> bool:
    """Take back one batch of each; True when there may be more."""
    settings = desk.settings
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "reap"):
            return False
        if not await duties.may_reap(tx, settings.lease_run):
            return False
        reaped = await jobs.reap(tx, desk.lens, _BATCH)
        woken = await deliveries.reap(tx, _BATCH)
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "expire"):
            return False
        expired = await jobs.expire(tx, desk.lens, batch=_BATCH, typical_call=settings.typical_call)
        await workers.forget(tx)
    if reaped.total or woken or expired:
        log.info(
            "leases.reaped",
            unsent=reaped.unsent,
            lost=reaped.lost,
            keeping=reaped.keeping,
            deliveries=woken,
            expired=expired,
        )
    return _BATCH in {reaped.total, woken, expired}
