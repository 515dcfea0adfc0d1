"""Workers: what each reports that it can take, and how much of that is free."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, text
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.platform.db.statements import Reader, Row, prepared
from models.schema import Worker
from models.states import JOB_IN_FLIGHT

_FORGOTTEN = timedelta(minutes=10)

# Jobs or deliveries that go to one worker, though others have places too (decision 64).
_TOGETHER = 16
BUNDLE = 64  # jobs or deliveries in one message: a statement for so many takes some milliseconds

# The workers that were seen within `:seen` and take more, and their slots: one row, as SQL.
SLOTS = """
    SELECT count(*) AS workers, coalesce(sum(generate_slots), 0)::bigint AS generate_slots,
           coalesce(sum(deliver_slots), 0)::bigint AS deliver_slots,
           coalesce(min(least(bundle, generate_slots)), 1) AS generate_bundle,
           coalesce(min(least(bundle, deliver_slots)), 1) AS deliver_bundle
      FROM workers WHERE NOT draining AND seen_at > now() - :seen"""

# What is in flight, and what of it are calls: an image that is being kept holds no place at the provider.
BUSY = f"""
    SELECT count(*) AS n, count(*) FILTER (WHERE phase = 'call') AS calls
      FROM jobs WHERE {JOB_IN_FLIGHT}"""  # noqa: S608 - a constant of ours

# How many deliveries may be woken, by the workers' free slots, and whose these are.
FREE_TO_DELIVER = f"""
    SELECT w.deliver_slots - busy.n AS slots, w.workers, w.deliver_bundle
      FROM ({SLOTS}) w, (SELECT count(*) AS n FROM deliveries WHERE state = 'sending') busy"""  # noqa: S608 - ours

# The columns of a `Capacity`, beside `w`, which are `SLOTS`, and `busy`, which is `BUSY`.
CAPACITY = """
    w.generate_slots - busy.n AS slots, busy.calls AS in_flight, w.workers, w.generate_bundle"""


async def report(
    tx: Transaction,
    worker: str,
    *,
    generate_slots: int,
    deliver_slots: int,
    draining: bool,
    bundle: int = BUNDLE,
) -> None:
    """Report what a worker can take, with each heartbeat. No message has more than `bundle` things."""
    said = {
        "generate_slots": generate_slots,
        "deliver_slots": deliver_slots,
        "bundle": bundle,
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
    """Delete the row of a worker that has stopped by itself."""
    await tx.execute(delete(Worker).where(Worker.id == worker))


async def forget(tx: Transaction) -> None:
    """Forget workers that have not been heard of for long."""
    await tx.execute(delete(Worker).where(Worker.seen_at < func.now() - _FORGOTTEN))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who takes work, as one sees it who hands it out: their number, and the most that one message carries.

    That is as many things as each of them understands in a message, and has places for. `free` places are
    left with all of them together.
    """

    workers: int
    bundle: int
    free: int

    def share(self, things: int, *, first: bool) -> int:
        """Return how many of these one message should carry.

        Many are shared equally. Few are not split when they go out for the first time: what begins together
        is written down together, which costs less. But no more go together than each worker has places
        left, on an average. What comes again may have killed its worker: the fewer go with it, the better.
        """
        workers = max(self.workers, 1)
        together = min(_TOGETHER, self.free // workers) if first else 1
        return max(min(max(-(-things // workers), together), self.bundle), 1)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many calls are in flight, and who takes more."""

    calls: int
    fleet: Fleet

    @property
    def slots(self) -> int:
        """How many slots of workers are free."""
        return self.fleet.free

    def within(self, limit: int) -> int:
        """Return how many calls may be dispatched within the provider's limit.

        The limit is one of paid calls: an image that is only to be kept takes a slot, and none of it.
        """
        return min(limit - self.calls, self.slots)


async def capacity(tx: Reader, *, seen: timedelta) -> Capacity:
    """Return how much may be dispatched: what nobody can take waits in Redis until its lease is over."""
    (row,) = await tx.read(_CAPACITY, {"seen": seen})
    return told(row)


def told(row: Row) -> Capacity:
    """Read the columns `CAPACITY`."""
    fleet = Fleet(row["workers"], row["generate_bundle"], row["slots"])
    return Capacity(row["in_flight"], fleet)


_CAPACITY = prepared(
    text(f"SELECT {CAPACITY} FROM ({SLOTS}) w, ({BUSY}) busy")  # noqa: S608 - constants of ours
)
