"""Wakes due deliveries, oldest first, within the workers' free slots and the cap of each endpoint."""

from models import deliveries, duties, workers
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import publish, wait_for_broker

_BATCH = 200


async def turn(desk: Desk) -> bool:
    """Wake one batch; True when there may be more."""
    settings = desk.settings
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "wake"):
            return False
        free = await workers.free_to_deliver(tx, seen=settings.worker_seen)
        slots = min(free, _BATCH)
        woken = await deliveries.wake(tx, slots, settings.delivery_lease)
    if not woken:
        return False
    sent = await publish(desk.celery, [("deliver", [str(id_), n]) for id_, n in woken])
    if sent < len(woken):
        async with desk.database.transaction() as tx:
            await deliveries.hand_back(tx, woken[sent:])
        await wait_for_broker(desk.celery)
        return False
    return len(woken) == slots < free
