"""Takes back what expired: leases of jobs and deliveries, queue ttls and deadlines."""

from collections import Counter
from typing import get_args
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric

from models import jobs
from models.coordination import duties
from models.platform.db import Transaction
from models.webhooks import deliveries
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import all_at_once, one_by_one

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 100
_TAKEN_OVER = Metric(
    "darkroom_leases_taken_over_total", "Leases that ran out and were taken back", ["of"]
)
for _of in (*get_args(jobs.Reaped), "delivery"):
    _TAKEN_OVER.labels(_of)


async def run(dispatcher: Dispatcher) -> bool:
    """Take back one batch of leases of jobs, and one of deliveries; True when there may be more."""
    async with duties.claimed(dispatcher.database.direct, "reap") as tx:
        if tx is None or not await duties.may_reap(tx, dispatcher.settings.lease_run):
            return False
        overdue = await jobs.overdue(tx, _BATCH)
        untold = await deliveries.run_out(tx, _BATCH)
    reaped = await one_by_one(
        dispatcher, "reap", overdue, lambda tx, id_: jobs.reap(tx, dispatcher.presenter, id_)
    )
    woken = await all_at_once(dispatcher, "deliveries", _reap, _run_out) if untold else 0
    for each in reaped:
        _TAKEN_OVER.labels(each).inc()
    _TAKEN_OVER.labels("delivery").inc(woken)
    if reaped or woken:
        log.info("leases.reaped", **Counter(reaped), deliveries=woken)
    return _BATCH in {len(reaped), woken}


async def expire(dispatcher: Dispatcher) -> bool:
    """Expire one batch of jobs that waited too long, or cannot end in time; True when there may be more."""
    typical_call = dispatcher.settings.typical_call
    late = await jobs.late(dispatcher.database.direct, _BATCH, typical_call)
    expired = await one_by_one(
        dispatcher,
        "expire",
        late,
        lambda tx, id_: jobs.expire(tx, dispatcher.presenter, id_, typical_call),
    )
    if expired:
        log.info("jobs.expired", expired=len(expired))
    return len(expired) == _BATCH


async def _reap(tx: Transaction, only: UUID | None) -> int:
    return await deliveries.reap(tx, _BATCH, only)


async def _run_out(tx: Transaction) -> list[UUID]:
    return await deliveries.run_out(tx, _BATCH)
