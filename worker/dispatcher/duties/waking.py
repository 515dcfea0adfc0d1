"""Wakes due deliveries, within free slots, the shares of projects and the limits of destinations."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from models.coordination import aside, duties, processes, workers
from models.operating import limits
from models.webhooks import deliveries, destinations
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.publishing import hand_out

# A destination that waits for its rate is looked at this soon again: what it misses, the next look makes up
# for.
_SOONEST = timedelta(milliseconds=50)
_FORGOTTEN = 5_000  # forgotten in one turn


@dataclass
class Cursor:
    """How far the look at each project with very many destinations has come; losing it costs a round."""

    seen: dict[UUID, str] = field(default_factory=dict)


async def run(dispatcher: Dispatcher, cursor: Cursor) -> bool | timedelta:
    """Wake one batch; True when there may be more, or in how long a destination may go on at its rate."""
    settings = dispatcher.settings
    if (left := dispatcher.patience.left) is not None:
        return left
    direct = dispatcher.database.direct
    free, _ = await deliveries.capacity(direct, seen=settings.worker_seen)
    if free <= 0:
        return False
    async with direct.transaction() as tx:
        if not await duties.claim(tx, "wake"):
            return False
        free, fleet = await deliveries.capacity(tx, seen=settings.worker_seen)
        most = dispatcher.patience.batch(deliveries.BATCH)
        woken = await deliveries.wake(
            tx,
            free,
            settings.delivery_lease,
            cap=settings.webhook_in_flight,
            rate=settings.webhook_rate,
            seen=cursor.seen,
            most=most,
        )
    cursor.seen = dict(woken.seen)
    due = woken.due
    sent = await hand_out(dispatcher.celery, dispatcher.patience, "deliver", due, fleet)
    if sent < len(due):
        async with direct.transaction() as tx:
            await deliveries.hand_back(tx, due[sent:])
        return False
    if due and len(due) == most < free:
        return True
    soon = [each for each in (woken.again_in, _SOONEST if woken.cut else None) if each is not None]
    return max(min(soon), _SOONEST) if soon else False


async def forget(dispatcher: Dispatcher) -> bool:
    """Forget throttles that slow nothing any more, rows set aside that have moved, and lost workers."""
    async with dispatcher.database.transaction() as tx:
        forgotten = await destinations.forget(tx, _FORGOTTEN)
        await aside.forget_old(tx)
        await workers.forget(tx)
        await processes.forget(tx)
        await limits.forget(tx)
    return forgotten == _FORGOTTEN
