"""Wakes due deliveries, oldest first, within the workers' free slots and the limits of each lane."""

from datetime import timedelta

from models import deliveries, duties, lanes, workers
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import Call, publish

_BATCH = 200
# A lane that waits for its rate is looked at this soon again: what it misses, the next look makes up for.
_SOONEST = timedelta(milliseconds=50)


async def turn(desk: Desk) -> bool | timedelta:
    """Wake one batch; True when there may be more, or in how long a lane may go on at its rate."""
    settings = desk.settings
    if (left := desk.patience.left) is not None:
        return left
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "wake"):
            return False
        free = await workers.free_to_deliver(tx, seen=settings.worker_seen)
        slots = min(free, desk.patience.batch(_BATCH))
        woken = await deliveries.wake(
            tx,
            slots,
            settings.delivery_lease,
            cap=settings.webhook_in_flight,
            rate=settings.webhook_rate,
        )
    due = woken.due
    calls: list[Call] = [("deliver", [str(id_), n]) for id_, n in due]
    sent = await publish(desk.celery, desk.patience, calls) if calls else 0
    if sent < len(due):
        async with desk.database.transaction() as tx:
            await deliveries.hand_back(tx, due[sent:])
        return False
    if due and len(due) == slots < free:
        return True
    return False if woken.again_in is None else max(woken.again_in, _SOONEST)


async def forget(desk: Desk) -> bool:
    """Forget the lanes that nothing slows any more; always False."""
    async with desk.database.transaction() as tx:
        await lanes.forget(tx)
    return False
