"""The provider's limit: how many paid calls it admits at once, over all workers, as far as is known.

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

from models.coordination.workers import BUSY
from models.platform.db import Transaction
from models.platform.db.statements import Reader, Row, Writer, prepared
from models.schema import Limit
from models.settings import Settings

_SLACK = 10  # a tenth may be free: a place that a call has left takes a moment to be filled


@dataclass(frozen=True, slots=True)
class LimitState:
    """The limit as it stands: so many calls may be in flight, so many are, and when a 429 last came."""

    calls: int
    in_flight: int
    slow_start: bool
    refused_at: datetime | None


async def calls(tx: Writer, settings: Settings) -> int:
    """Return how many calls may be in flight at present; it grows here, when its time has come.

    To be asked once in each turn that dispatches. Writes when it grows, and twice a window while it is
    used.
    """
    (row,) = await tx.run(_READ, times(settings))
    return await grown(tx, settings, row)


async def grown(tx: Writer, settings: Settings, seen: Row) -> int:
    """Return the same for a row that was just read, of `STANDING` and what is `in_flight`."""
    known, in_flight = seen["limit"], seen["in_flight"]
    found = _within(settings, known or 0)
    if known is None:
        await tx.run(_FIRST, {"calls": found})
        return found
    ceiling = settings.provider_limit
    if found == ceiling:
        return found
    used = in_flight >= max(1, found - max(1, found // _SLACK))
    grows = seen["window_over"] if seen["slow_start"] else seen["probe_due"]
    if (used or seen["used_lately"]) and grows:
        larger = min(ceiling, found * 2 if seen["slow_start"] else found + 1)
        raised = {"seen": known, "refused_at": seen["refused_at"], "larger": larger}
        return larger if await tx.run(_GROW, raised) else found
    if used and seen["mark_due"]:
        await tx.run(_USED, {})
    return found


async def refused(tx: Transaction, settings: Settings, job_id: UUID, number: int) -> int:
    """Learn from the 429 that this attempt was answered and finished with; returns the limit.

    Admitted were, at most, the calls that were in flight at once while this one was on its way, without
    those that were refused: the provider counted at some moment between. So a burst of 429s comes down to
    what was admitted and no further, and a 429 of before the last fall tells nothing new. The row is
    taken first: what others wrote of the same burst is seen then.

    What one project alone meets, while calls of others are admitted, may be about its prompts or its model:
    then the limit doubles no more, and does not fall. A limit of all will be met by others soon.
    """
    ceiling = settings.provider_limit
    call = {"job_id": job_id, "number": number, "longest": longest(settings)}
    alone = bool(await tx.scalar(_MET_ALONE, call | {"window": settings.limit_probe}))
    noted = {"slow_start": False} | ({} if alone else {"refused_at": func.now()})
    taken = await tx.scalar(
        insert(Limit)
        .values(id=1, calls=ceiling, **noted)
        .on_conflict_do_update(index_elements=["id"], set_=noted)
        .returning(Limit.calls)
    )
    before = _within(settings, taken or ceiling)
    if alone:
        return before
    admitted = int(await tx.scalar(_ADMITTED, call) or 0)
    after = _within(settings, min(before, admitted - 1))
    if after < before:
        fallen = update(Limit).where(Limit.id == 1)
        await tx.execute(fallen.values(calls=after, changed_at=func.now()))
    return after


async def read(tx: Reader, settings: Settings) -> LimitState:
    """Return where the limit stands, and move nothing."""
    (row,) = await tx.read(_READ, times(settings))
    calls_, in_flight = _within(settings, row["limit"] or 0), row["in_flight"]
    return LimitState(calls_, in_flight, row["slow_start"] is not False, row["refused_at"])


def longest(settings: Settings) -> timedelta:
    """Return how long ago a call in flight may have been sent: its lease has not run out yet."""
    timeout = max(settings.attempt_timeout, settings.attempt_timeout_large)
    return settings.connect_timeout + timeout + settings.lease_run


def _within(settings: Settings, count: int) -> int:
    return min(settings.provider_limit, max(settings.provider_limit_floor, count))


def times(settings: Settings) -> dict[str, object]:
    """Return the parameters of `STANDING`."""
    return {"window": settings.limit_window, "probe": settings.limit_probe}


# How the limit stands, as columns beside `l`, the row of `limits`, if there is one.
STANDING = """
    l.calls AS "limit", l.slow_start, l.refused_at,
    l.used_at >= l.changed_at AND l.used_at > now() - :window AS used_lately,
    now() >= l.changed_at + :window AS window_over,
    now() >= greatest(l.changed_at, l.refused_at) + :probe AS probe_due,
    (l.used_at < l.changed_at OR l.used_at <= now() - :window / 2) IS NOT FALSE AS mark_due"""

_READ = prepared(
    text(f"""
    SELECT busy.calls AS in_flight, {STANDING}
      FROM ({BUSY}) busy LEFT JOIN limits l ON l.id = 1
""")  # noqa: S608 - constants of ours
)
_FIRST = prepared(
    text("INSERT INTO limits (id, calls) VALUES (1, :calls) ON CONFLICT DO NOTHING"),
)
_USED = prepared(text("UPDATE limits SET used_at = now() WHERE id = 1"))
_GROW = prepared(
    text("""
    UPDATE limits SET calls = :larger, changed_at = now()
     WHERE id = 1 AND calls = :seen
       AND refused_at IS NOT DISTINCT FROM CAST(:refused_at AS timestamptz)
    RETURNING calls
""")
)

# Whether calls of other projects were admitted lately, and none of theirs was refused: a refusal comes at
# once. `sent_at` is bounded for its index.
_MET_ALONE = text("""
    WITH this AS (
        SELECT jobs.project_id FROM attempts JOIN jobs ON jobs.id = attempts.job_id
         WHERE attempts.job_id = :job_id AND number = :number
    ), theirs AS (
        SELECT a.http_status = 429 AS refused
          FROM this, attempts a JOIN jobs ON jobs.id = a.job_id
         WHERE a.sent_at > now() - CAST(:window AS interval) AND jobs.project_id <> this.project_id
           AND (a.http_status IS NOT NULL
                OR a.finished_at IS NULL AND a.sent_at < now() - interval '2 s')
    )
    SELECT count(*) > 0 AND NOT bool_or(coalesce(refused, false)) FROM theirs
""")
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
