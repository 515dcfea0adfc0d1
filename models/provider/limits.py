"""The provider's limit: how many paid calls may be in flight over all workers, as far as it was found out.

No limit is published, so it is looked for. Slow start: from the floor it doubles once per window, as long
as it is fully used, until the first 429. A 429 tells how many calls were admitted beside the refused one,
and the limit becomes one less. Afterwards it grows by one at a time, when no 429 has come for a while.
Floor and ceiling always hold; the row remembers across restarts; only the database's clock counts.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, text, update
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.schema import Limit
from models.settings import Settings
from models.states import JOB_IN_FLIGHT

_SLACK = 10  # a tenth may be free: a place that a call has left takes a moment to be filled


@dataclass(frozen=True, slots=True)
class LimitState:
    """The limit as it stands: so many calls may be in flight, so many are, and when a 429 last came."""

    calls: int
    in_flight: int
    slow_start: bool
    refused_at: datetime | None


async def calls(tx: Transaction, settings: Settings) -> int:
    """Return how many calls may be in flight at present; it grows here, when its time has come.

    To be asked once in each turn that dispatches. Writes when it grows, and twice a window while it is
    used.
    """
    row = (await tx.execute(_READ, _times(settings))).one()
    if row.calls is None:
        first = insert(Limit).values(id=1, calls=_within(settings, 0))
        await tx.execute(first.on_conflict_do_nothing())
        return _within(settings, 0)
    found = _within(settings, row.calls)
    ceiling = settings.provider_limit
    if found == ceiling:
        return found
    used = row.in_flight >= max(1, found - max(1, found // _SLACK))
    if (used or row.used_lately) and (row.window_over if row.slow_start else row.probe_due):
        larger = min(ceiling, found * 2 if row.slow_start else found + 1)
        return larger if await _grow(tx, row.calls, row.refused_at, larger) else found
    if used and row.mark_due:
        await tx.execute(update(Limit).where(Limit.id == 1).values(used_at=func.now()))
    return found


async def refused(tx: Transaction, settings: Settings, job_id: UUID, number: int) -> int:
    """Learn from the 429 that this attempt was answered and finished with; returns the limit.

    Admitted were, at most, the calls that were in flight at once while this one was on its way, without
    those that were refused: the provider counted at some moment between. So a burst of 429s comes down to
    what was admitted and no further, and a 429 of before the last fall tells nothing new. The row is
    taken first: what others wrote of the same burst is seen then.
    """
    ceiling = settings.provider_limit
    noted = {"slow_start": False, "refused_at": func.now()}
    taken = await tx.scalar(
        insert(Limit)
        .values(id=1, calls=ceiling, **noted)
        .on_conflict_do_update(index_elements=["id"], set_=noted)
        .returning(Limit.calls)
    )
    before = _within(settings, taken or ceiling)
    call = {"job_id": job_id, "number": number, "longest": longest(settings)}
    admitted = int(await tx.scalar(_ADMITTED, call) or 0)
    after = _within(settings, min(before, admitted - 1))
    if after < before:
        fallen = update(Limit).where(Limit.id == 1)
        await tx.execute(fallen.values(calls=after, changed_at=func.now()))
    return after


async def read(tx: Transaction, settings: Settings) -> LimitState:
    """Tell where the limit stands, and move nothing."""
    row = (await tx.execute(_READ, _times(settings))).one()
    if row.calls is None:
        return LimitState(_within(settings, 0), row.in_flight, slow_start=True, refused_at=None)
    return LimitState(_within(settings, row.calls), row.in_flight, row.slow_start, row.refused_at)


def longest(settings: Settings) -> timedelta:
    """Tell how long ago a call that is in flight may have been sent: until its lease has run out."""
    timeout = max(settings.attempt_timeout, settings.attempt_timeout_large)
    return settings.connect_timeout + timeout + settings.lease_run


async def _grow(tx: Transaction, seen: int, refused_at: datetime | None, larger: int) -> bool:
    """Raise the limit, unless a 429 has come between."""
    grown = await tx.scalar(
        update(Limit)
        .where(
            Limit.id == 1, Limit.calls == seen, Limit.refused_at.is_not_distinct_from(refused_at)
        )
        .values(calls=larger, changed_at=func.now())
        .returning(Limit.calls)
    )
    return grown is not None


def _within(settings: Settings, count: int) -> int:
    return min(settings.provider_limit, max(settings.provider_limit_floor, count))


def _times(settings: Settings) -> dict[str, object]:
    return {"window": settings.limit_window, "probe": settings.limit_probe}


# A call holds its place at the provider until it is answered: an image that is being kept holds none.
_READ = text(f"""
    SELECT l.calls, l.slow_start, l.refused_at, busy.n AS in_flight,
           l.used_at >= l.changed_at AND l.used_at > now() - :window AS used_lately,
           now() >= l.changed_at + :window AS window_over,
           now() >= greatest(l.changed_at, l.refused_at) + :probe AS probe_due,
           (l.used_at < l.changed_at OR l.used_at <= now() - :window / 2) IS NOT FALSE AS mark_due
      FROM (SELECT count(*) AS n FROM jobs
             WHERE {JOB_IN_FLIGHT} AND phase = 'call') busy
      LEFT JOIN limits l ON l.id = 1
""")  # noqa: S608 - a constant of ours

# The most calls in flight at once between the sending of one and now: each adds one when it is sent and
# takes it back when it is answered. `sent_at` is bounded for its index alone: no call takes longer.
_ADMITTED = text("""
    WITH this AS (SELECT id, sent_at FROM attempts WHERE job_id = :job_id AND number = :number),
    calls AS (
        SELECT greatest(a.sent_at, this.sent_at) AS sent_at, a.finished_at
          FROM this, attempts a
         WHERE a.sent_at > this.sent_at - :longest AND a.id <> this.id
           AND coalesce(a.finished_at >= this.sent_at, true)
           AND a.http_status IS DISTINCT FROM 429
    ), moves AS (
        SELECT sent_at AS at, 1 AS n FROM calls
         UNION ALL
        SELECT finished_at, -1 FROM calls WHERE finished_at IS NOT NULL
    )
    SELECT max(n) FROM (SELECT sum(n) OVER (ORDER BY at, n) AS n FROM moves) sums
""")
