"""Takes back what expired: leases of jobs and deliveries, queue ttls and deadlines."""

from collections import Counter

import structlog

from models import deliveries, duties, jobs, workers
from worker.dispatcher.desk import Desk, one_by_one

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
        overdue = await jobs.overdue(tx, _BATCH)
        late = await jobs.late(tx, _BATCH, settings.typical_call)
        woken = await deliveries.reap(tx, _BATCH)
        await workers.forget(tx)
    reaped = await one_by_one(desk, overdue, lambda tx, id_: jobs.reap(tx, desk.lens, id_))
    expired = await one_by_one(
        desk, late, lambda tx, id_: jobs.expire(tx, desk.lens, id_, settings.typical_call)
    )
    if reaped or woken or expired:
        log.info("leases.reaped", **Counter(reaped), deliveries=woken, expired=len(expired))
    return _BATCH in {len(reaped), woken, len(expired)}
