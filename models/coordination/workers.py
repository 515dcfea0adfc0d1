"""What the workers can take: their own reports, and what is left of them."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, text
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.schema import Worker
from models.states import JOB_IN_FLIGHT

_FORGOTTEN = timedelta(minutes=10)

# The workers that were seen within `:seen` and take more, and their slots: one row, as SQL.
SLOTS = """
    SELECT count(*) AS workers, coalesce(sum(generate_slots), 0)::bigint AS generate_slots,
           coalesce(sum(deliver_slots), 0)::bigint AS deliver_slots
      FROM workers WHERE NOT draining AND seen_at > now() - :seen"""


async def report(
    tx: Transaction, worker: str, *, generate_slots: int, deliver_slots: int, draining: bool
) -> None:
    """Say what a worker can take; renewed with its heartbeat."""
    said = {
        "generate_slots": generate_slots,
        "deliver_slots": deliver_slots,
        "draining": draining,
        "seen_at": func.now(),
    }
    await tx.execute(
        insert(Worker)
        .values(id=worker, **said)
        .on_conflict_do_update(index_elements=["id"], set_=said)
    )
    tx.ring("jobs")
    tx.ring("deliveries")


async def leave(tx: Transaction, worker: str) -> None:
    """Forget a worker that has stopped in good order."""
    await tx.execute(delete(Worker).where(Worker.id == worker))


async def forget(tx: Transaction) -> None:
    """Forget workers that have not been heard of for long."""
    await tx.execute(delete(Worker).where(Worker.seen_at < func.now() - _FORGOTTEN))


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many slots of workers are free, and how many calls are in flight."""

    slots: int
    calls: int

    def within(self, limit: int) -> int:
        """Return how many calls may be dispatched within the provider's limit.

        The limit is one of paid calls: an image that is only to be kept takes a slot, and none of it.
        """
        return min(limit - self.calls, self.slots)


async def capacity(tx: Transaction, *, seen: timedelta) -> Capacity:
    """Return how much may be dispatched.

    Celery would keep what a pool cannot take, and its lease would run out there.
    """
    row = (await tx.execute(_CAPACITY, {"seen": seen})).one()
    return Capacity(int(row.slots), int(row.calls))


async def free_to_deliver(tx: Transaction, *, seen: timedelta) -> int:
    """Return how many deliveries may be woken, by the workers' free slots."""
    return int(await tx.scalar(_FREE_TO_DELIVER, {"seen": seen}) or 0)


_CAPACITY = text(f"""
    SELECT w.generate_slots - busy.n AS slots, busy.calls
      FROM ({SLOTS}) w,
           (SELECT count(*) AS n, count(*) FILTER (WHERE phase = 'call') AS calls FROM jobs
             WHERE {JOB_IN_FLIGHT}) busy
""")  # noqa: S608 - constants of ours

_FREE_TO_DELIVER = text(f"""
    SELECT w.deliver_slots - busy.n
      FROM ({SLOTS}) w,
           (SELECT count(*) AS n FROM deliveries WHERE state = 'sending') busy
""")  # noqa: S608 - a constant of ours
