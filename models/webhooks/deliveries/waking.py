"""pending → sending: what is handed out now, within the shares of projects and the limits of destinations.

A delivery costs the place that it holds: for milliseconds, or for 15 s when its receiver hangs. So projects
share places, not turns: the next place goes to the project that holds fewest, and none may hold more than a
multiple of those that are still free (Choudhury and Hahne, Dynamic Queue Length Thresholds, 1998).
One project alone gets three quarters, or half while its receivers are slow, so a place is always free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.coordination import aside, workers
from models.coordination.workers import Fleet
from models.platform.db import Transaction
from models.platform.db.statements import ASYNCHRONOUSLY, Reader, Writer, prepared
from models.states import DELIVERY_DUE
from models.webhooks import destinations

BATCH = 200  # of one look
# How far a destination may run ahead of its rate (GCRA's tolerance): a dispatcher that looks a little late
# makes up for it, and a burst is one try and what a tenth of a second lets pass.
_AHEAD = timedelta(milliseconds=100)
# A destination with a try out for so long may hang: it gets a quarter of its cap until that one has come
# back.
_LONG = timedelta(seconds=2)
# What a project may hold for each place that is free, and what one whose tries take long.
_SHARE, _SHARE_LONG = 3, 1
_DESTINATIONS = 200  # of one project that one look goes through; the next goes on after them


@dataclass(frozen=True, slots=True)
class Woken:
    """What was handed out: pairs of delivery and number of the try.

    `again_in` is when the first destination that waits for its rate alone may go on; None when there is
    none. `seen` names, for each project with more destinations than one look goes through, the last that
    was seen; `cut` tells whether this very look ended so.
    """

    due: Sequence[tuple[UUID, int]]
    again_in: timedelta | None = None
    seen: Mapping[UUID, str] = field(default_factory=dict)
    cut: bool = False


async def capacity(tx: Reader, *, seen: timedelta) -> tuple[int, Fleet]:
    """Return how many may be handed out, by the workers' free slots, and whose these are.

    0 while nothing is due; what is due its destination may hold up. `seen` is how old a worker's report
    may be.
    """
    (row,) = await tx.read(_CAPACITY, {"seen": seen})
    fleet = Fleet(row["workers"], row["deliver_bundle"], row["slots"])
    return row["slots"] if row["due"] else 0, fleet


async def wake(
    tx: Writer,
    free: int,
    lease: timedelta,
    *,
    cap: int,
    rate: int,
    seen: Mapping[UUID, str] | None = None,
    most: int = BATCH,
) -> Woken:
    """Hand out what is due, as far as there are `free` places, to be published after the commit.

    First to the projects that hold fewest, and of a project the oldest first. A destination has at most
    `cap` tries in flight, one while it is slow, a quarter while one takes long, and begins `rate` a second,
    unless its endpoint has a rate of its own. `seen` is what the last look gave. Pauses, caps and rates
    hold exactly for callers one after the other (a dispatcher claims the duty); at once, they hand out
    nothing twice.
    """
    if free <= 0:
        return Woken([])
    last = seen or {}
    asked = {"cap": cap, "rate": rate, "projects": list(last), "lanes": list(last.values())}
    counts = {"free": free, "lease": lease, "slots": min(free, most)}
    rows = await tx.run(_WAKE, {**asked, **counts, **LIMITS})
    due = [(row["id"], row["tries"]) for row in rows if row["id"]]
    seen_now, passed_by, again_in = (rows[0][each] for each in ("seen", "passed", "again_in"))
    further = {UUID(project): destination for project, destination in seen_now or ()}
    passed = {each: last[each] for each in passed_by or () if each in last}
    return Woken(due, again_in, passed | further, cut=bool(further))


async def next_to_wake(tx: Writer, most: int = BATCH) -> list[UUID]:
    """Return the deliveries that `wake` would come to first, whatever slows them down; moves none."""
    asked: dict[str, object] = {"cap": most, "rate": most, "projects": [], "lanes": []}
    return [
        row["id"] for row in await tx.run(_NEXT, {**asked, "free": most, "slots": most, **LIMITS})
    ]


async def try_waking(tx: Transaction, delivery_id: UUID) -> bool:
    """Raise what Postgres has against waking a delivery, else return True; nothing is changed."""
    async with tx.undone():
        await tx.execute(_TRY, {"delivery": delivery_id, "lease": timedelta(0)})
    return True


# Whether anything is due. By the index that has the order: any other might be read whole, with nothing due
# in it.
DUE = f"""EXISTS (SELECT FROM (
               SELECT FROM deliveries WHERE {DELIVERY_DUE} ORDER BY next_at LIMIT 1) first)"""  # noqa: S608 - as below
_CAPACITY = prepared(
    text(f"""
    SELECT {DUE} AS due, free.*
      FROM ({workers.FREE_TO_DELIVER}) free
""")  # noqa: S608 - a constant of ours
)

# What is due in the destination of a row (`of`), and in which order it came. Written as bounds and an order
# that ix_deliveries_waiting alone has: with equalities any order by time would do, and beside a long
# backlog of others all of that would be read until something of this destination comes.
DUE_IN = """{which}.state = 'pending'
                  AND ({which}.project_id, {which}.lane) >= ({of}.project_id, {of}.lane)
                  AND ({which}.project_id, {which}.lane, {which}.next_at)
                   <= ({of}.project_id, {of}.lane, now())"""
OLDEST = "{which}.project_id, {which}.lane, {which}.next_at"

LIMITS = {
    "ahead": _AHEAD,
    "long": _LONG,
    "share": _SHARE,
    "share_long": _SHARE_LONG,
    "hops": _DESTINATIONS,
    "ping": f"{destinations.PING}%",
}

# What a delivery becomes when it is handed out.
SENDING = """state = 'sending', tries = tries + 1, next_at = NULL, taken_at = NULL,
               lease_until = now() + :lease"""
_TRY = text(f"UPDATE deliveries SET {SENDING} WHERE id = :delivery AND state = 'pending'")  # noqa: S608 - ours

# The tries under way, of each destination and of each project; `hangs`: one of them takes long.
BUSY = """busy AS (
        SELECT project_id, lane, count(*) AS n, bool_or(taken_at < now() - :long) AS hangs
          FROM deliveries WHERE state = 'sending' {of} GROUP BY project_id, lane
    ), held AS (
        SELECT project_id, CAST(sum(n) AS bigint) AS n, bool_or(hangs) AS hangs
          FROM busy GROUP BY project_id"""

# A destination's rate, in tries a second, and from when it is free by that; how many may begin now.
RATE = """CAST(coalesce(endpoints.rate_limit, :rate) AS float8) AS rate,
               greatest(lanes.free_at, now()) AS free_at"""
MAY_BEGIN = "greatest(floor(rate * extract(epoch FROM now() + :ahead - free_at)) + 1, 0)"

# The rate of each destination goes on by as many as are chosen of it, also where another transaction has
# just moved it on.
PACE = """
        INSERT INTO lanes (lane, free_at)
        SELECT lane, now() + make_interval(secs => count(*) / rate)
          FROM {chosen} WHERE lane NOT LIKE :ping GROUP BY lane, rate ORDER BY lane
            ON CONFLICT (lane) DO UPDATE
               SET free_at = greatest(lanes.free_at, now()) + (excluded.free_at - now())"""

# Every destination is looked at by itself: a backlog of one must not hide what is due in the others.
# `owners` hops from project to project over ix_deliveries_waiting, and `waiting` from destination to
# destination, so that a destination costs one look however much waits in it, and a project no more than
# `hops`, or none while it holds its share. In the order of their load, those of a project are let pass as
# long as it would hold no more than its share of what is free by then. The arrays keep the planner from
# joining with the whole table. With nothing due there is still one row.
_CHOOSE = f"""
    WITH RECURSIVE owners AS (
        (SELECT project_id FROM deliveries WHERE state = 'pending' ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT following.* FROM owners CROSS JOIN LATERAL (
               SELECT project_id FROM deliveries
                WHERE state = 'pending' AND project_id > owners.project_id ORDER BY project_id LIMIT 1
               ) following
    ), {BUSY.format(of="")}
    ), looked_at AS (
        SELECT project_id,
               coalesce(n, 0) < CASE WHEN hangs THEN :share_long ELSE :share END * :free AS may
          FROM owners LEFT JOIN held USING (project_id)
    ), waiting AS (
        SELECT first.*, 1 AS n
          FROM looked_at LEFT JOIN unnest(CAST(:projects AS uuid[]), CAST(:lanes AS text[]))
                             AS last (project_id, lane) USING (project_id)
               CROSS JOIN LATERAL (
               SELECT project_id, lane, next_at, endpoint_id FROM deliveries
                WHERE state = 'pending' AND project_id = looked_at.project_id
                  AND lane > coalesce(last.lane, '') ORDER BY lane, next_at LIMIT 1
               ) first WHERE may
        UNION ALL
        SELECT following.*, n + 1 FROM waiting CROSS JOIN LATERAL (
               SELECT project_id, lane, next_at, endpoint_id FROM deliveries
                WHERE state = 'pending' AND project_id = waiting.project_id
                  AND lane > waiting.lane ORDER BY lane, next_at LIMIT 1
               ) following WHERE n < :hops
    ), due AS (
        SELECT waiting.project_id, lane, {RATE},
               CASE WHEN lanes.slow THEN 1 WHEN busy.hangs AND lane NOT LIKE :ping
                    THEN greatest(:cap / 4, 1) ELSE :cap END
               - coalesce(busy.n, 0) AS room
          FROM waiting LEFT JOIN lanes USING (lane) LEFT JOIN busy USING (project_id, lane)
               LEFT JOIN endpoints ON endpoints.id = waiting.endpoint_id
         WHERE waiting.next_at <= now() AND coalesce(lanes.paused_until <= now(), true)
    ), open AS (
        SELECT *, {MAY_BEGIN} AS pace
          FROM due WHERE room > 0
    ), mine AS (
        SELECT first.id, first.next_at, held.hangs,
               coalesce(held.n, 0) + row_number() OVER (
                   PARTITION BY open.project_id ORDER BY first.next_at, first.id) AS load
          FROM open LEFT JOIN held USING (project_id) CROSS JOIN LATERAL (
               SELECT id, next_at FROM deliveries d
                WHERE {DUE_IN.format(which="d", of="open")}
                  AND d.id <> ALL ({aside.passed("wake")})
                ORDER BY {OLDEST.format(which="d")} LIMIT least(open.room, open.pace, :free)
               ) first
    ), chosen AS (
        SELECT id FROM (
               SELECT id, load, hangs, row_number() OVER (ORDER BY load, next_at, id) AS place FROM mine
               ) lined
         WHERE load <= CASE WHEN hangs THEN :share_long ELSE :share END * (:free + 1 - place)
         ORDER BY place LIMIT :slots
    ), picked AS (
        -- By their ids: written so that no index of all that waits looks as good.
        SELECT id, lane FROM deliveries
         WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND state || '' = 'pending'
           FOR UPDATE SKIP LOCKED
    )"""  # noqa: S608 - constants of ours
_NEXT = prepared(text(f"{_CHOOSE} SELECT id FROM picked"))  # noqa: S608 - ours
_WAKE = prepared(
    text(f"""{_CHOOSE}, sent AS (
        UPDATE deliveries SET {SENDING}
         WHERE id = ANY (ARRAY(SELECT id FROM picked))
        RETURNING id, tries
    ), paced AS (
        {PACE.format(chosen="picked JOIN open USING (lane)")}
    )
    SELECT sent.id, sent.tries, again_in, seen, passed FROM (
           SELECT min(free_at + make_interval(secs => pace / rate) - :ahead) - now() AS again_in
             FROM open WHERE pace < room
           ) later CROSS JOIN (
           SELECT array_agg(ARRAY[CAST(project_id AS text), lane]) AS seen FROM waiting WHERE n = :hops
           ) further CROSS JOIN (
           SELECT array_agg(project_id) FILTER (WHERE NOT may) AS passed FROM looked_at
           ) others CROSS JOIN {ASYNCHRONOUSLY} LEFT JOIN sent ON true
""")  # noqa: S608 - ours
)
