"""Wakes due deliveries, within free slots, the shares of projects and the limits of destinations."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID

from models.coordination import duties
from models.coordination.workers import Fleet
from models.webhooks import deliveries
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.publishing import hand_out
from worker.dispatcher.rows import sifted

# A destination that waits for its rate is looked at this soon again: what it misses, the next look makes up
# for.
_SOONEST = timedelta(milliseconds=50)


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
    most = dispatcher.patience.batch(deliveries.BATCH)
    made = await sifted(
        dispatcher,
        "wake",
        partial(_wake, dispatcher, cursor, most),
        deliveries.next_to_wake,
        deliveries.try_waking,
    )
    if made is None:
        return True  # without what was set aside
    woken, fleet = made
    due = woken.due
    sent = await hand_out(dispatcher.celery, dispatcher.patience, "deliver", due, fleet)
    if sent < len(due):
        async with direct.transaction() as tx:
            await deliveries.hand_back(tx, due[sent:])
        return False
    if due and len(due) == most < fleet.free:
        return True
    soon = [each for each in (woken.again_in, _SOONEST if woken.cut else None) if each is not None]
    return max(min(soon), _SOONEST) if soon else False


async def _wake(
    dispatcher: Dispatcher, cursor: Cursor, most: int
) -> tuple[deliveries.Woken, Fleet]:
    """Wake what may go; returns it, and who takes it, with the places that were free."""
    settings = dispatcher.settings
    async with duties.claimed(dispatcher.database.direct, "wake") as tx:
        if tx is None:
            return deliveries.Woken([]), Fleet(0, 1, 0)
        free, fleet = await deliveries.capacity(tx, seen=settings.worker_seen)
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
    return woken, fleet
