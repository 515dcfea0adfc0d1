"""Duties, not a leader: any number of dispatchers may run, and two at once are harmless.

A duty that counts places runs in one short transaction under `claim`: nothing to fail over. One that finds
rows and moves each of them needs none: a row is moved once, whoever comes first. A duty that
uses the network holds a lease row (`lease`), which also counts its requests to the provider.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy import case, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.platform.db.direct import Direct, DirectTransaction
from models.platform.db.statements import Writer, prepared
from models.schema import Duty

# Of a lease, without one tick of a reaper that ticks every second: Postgres was away, and heartbeats,
# which come as often, may have been missed.
_AWAY = 1 / 4
_MARK = 1 / 16  # how old the mark of the last tick may become before a tick renews it
_WINDOW = timedelta(seconds=60)
BOOKS = "books"  # the audit of what was booked lately; its count is of jobs that differ
# Whether the reaper's last tick is to be marked anew.
UNMARKED = "NOT EXISTS (SELECT FROM duties WHERE name = 'reap' AND done_at > now() - :mark)"
_MINE = "SELECT pg_try_advisory_xact_lock(hashtextextended({duty}, 0)) AS mine"
_CLAIM = prepared(text(_MINE.format(duty=":duty")))


async def claim(tx: Writer, duty: str) -> bool:
    """Take a duty for this transaction; False when another dispatcher is at it right now."""
    (row,) = await tx.run(_CLAIM, {"duty": duty})
    return bool(row["mine"])


@asynccontextmanager
async def claimed(
    direct: Direct, duty: str, *, also: str = "true"
) -> AsyncIterator[DirectTransaction | None]:
    """Open a transaction that has claimed a duty; None when another dispatcher is at it right now.

    It is the same `claim` for duties of every tick, sent with the BEGIN: a round trip less. With it goes
    what is `also` selected.
    """
    mine = f"{_MINE.format(duty=repr(duty))}, {also}"
    async with direct.transaction(mine.encode()) as tx:
        yield tx if tx.first_row["mine"] else None


async def may_reap(tx: Writer, patience: timedelta) -> bool:
    """Return whether expired leases can be believed.

    When Postgres was away nobody could renew, and every lease looks expired though the calls go on. So
    after a gap in the reaper's ticks it waits one lease (`patience`) first. The gap is measured by the
    database's clock, and kept in it, so that all dispatchers agree; not every tick writes.
    """
    times = {"patience": patience, "away": _AWAY * patience, "mark": mark(patience)}
    (row,) = await tx.run(_MAY_REAP, times)
    return bool(row["believed"])


def mark(patience: timedelta) -> timedelta:
    """Return how old the mark of the reaper's last tick may become."""
    return _MARK * patience


async def lease(tx: Transaction, duty: str, holder: str, lasting: timedelta) -> bool:
    """Take or renew the lease of a duty that uses the network; return False when another one has it."""
    held = await tx.scalar(
        insert(Duty)
        .values(name=duty, holder=holder, lease_until=func.now() + lasting)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "lease_until": func.now() + lasting},
            where=or_(
                Duty.holder == holder, Duty.lease_until.is_(None), Duty.lease_until < func.now()
            ),
        )
        .returning(Duty.name)
    )
    return held is not None


async def note(tx: Transaction, duty: str, count: int) -> None:
    """Remember that a duty was done just now, and what it has counted."""
    noted_ = {"done_at": func.now(), "window_count": count}
    made = insert(Duty).values(name=duty, **noted_)
    await tx.execute(made.on_conflict_do_update(index_elements=["name"], set_=noted_))


async def noted(tx: Transaction, duty: str) -> tuple[datetime | None, int]:
    """Return when a duty was noted last, and what it had counted."""
    rows = await tx.execute(select(Duty.done_at, Duty.window_count).where(Duty.name == duty))
    row = rows.one_or_none()
    return (None, 0) if row is None else (row.done_at, row.window_count)


async def spend_request(tx: Transaction, most: int) -> bool:
    """Count a request to the provider's account routes; False when the minute's share is used up.

    The provider allows 200 in 60 s for the whole account, over all processes.
    """
    fresh = or_(Duty.window_start.is_(None), Duty.window_start < func.now() - _WINDOW)
    counted = await tx.scalar(
        insert(Duty)
        .values(name="provider_requests", window_start=func.now(), window_count=1)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={
                "window_start": case((fresh, func.now()), else_=Duty.window_start),
                "window_count": case((fresh, 1), else_=Duty.window_count + 1),
            },
            where=or_(fresh, Duty.window_count < most),
        )
        .returning(Duty.window_count)
    )
    return counted is not None


# The second one at the end of a gap meets the mark of the first, and with it the wait that it began.
_MAY_REAP = prepared(
    text("""
    WITH known AS (
        SELECT done_at, lease_until FROM duties WHERE name = 'reap'
    ), marked AS (
        INSERT INTO duties (name, done_at)
        SELECT 'reap', now() WHERE NOT EXISTS (SELECT FROM known WHERE done_at > now() - :mark)
            ON CONFLICT (name) DO UPDATE SET done_at = now(),
               lease_until = CASE WHEN duties.done_at < now() - :away THEN now() + :patience
                                  ELSE duties.lease_until END
        RETURNING lease_until
    )
    SELECT coalesce(lease_until <= now(), true) AS believed FROM (
           SELECT 1 AS place, lease_until FROM marked UNION ALL SELECT 2, lease_until FROM known
            ORDER BY place LIMIT 1) newest
""")
)
