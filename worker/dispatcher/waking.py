"""Wakes due deliveries, within the workers' free slots, the shares of projects and the limits of lanes."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from models.coordination import aside, duties, workers
from models.webhooks import deliveries, lanes
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import Call, publish

# A lane that waits for its rate is looked at this soon again: what it misses, the next look makes up for.
_SOONEST = timedelta(milliseconds=50)
_LANES = 5_000  # forgotten in one turn


@dataclass
class Rounds:
    """Where the look at each project with very many lanes has come to; to lose it costs a round."""

    seen: dict[UUID, str] = field(default_factory=dict)


async def run(desk: Desk, rounds: Rounds) -> bool | timedelta:
    """Wake one batch; True when there may be more, or in how long a lane may go on at its rate."""
    settings = desk.settings
    if (left := desk.patience.left) is not None:
        return left
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "wake"):
            return False
        free = await workers.free_to_deliver(tx, seen=settings.worker_seen)
        most = desk.patience.batch(deliveries.BATCH)
        woken = await deliveries.wake(
            tx,
            free,
            settings.delivery_lease,
            cap=settings.webhook_in_flight,
            rate=settings.webhook_rate,
            seen=rounds.seen,
            most=most,
        )
    rounds.seen = dict(woken.seen)
    due = woken.due
    calls: list[Call] = [("deliver", [str(id_), n]) for id_, n in due]
    sent = await publish(desk.celery, desk.patience, calls) if calls else 0
    if sent < len(due):
        async with desk.database.transaction() as tx:
            await deliveries.hand_back(tx, due[sent:])
        return False
    if due and len(due) == most < free:
        return True
    soon = [each for each in (woken.again_in, _SOONEST if woken.cut else None) if each is not None]
    return max(min(soon), _SOONEST) if soon else False


async def forget(desk: Desk) -> bool:
    """Forget lanes that nothing slows any more, and rows that were set aside and have moved since."""
    async with desk.database.transaction() as tx:
        forgotten = await lanes.forget(tx, _LANES)
        await aside.forget_old(tx)
    return forgotten == _LANES
