"""pending → sending: what is handed out now, within the caps, rates and pauses of the lanes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Integer, and_, case, cast, func, or_, select, text, update

from models import lanes
from models.db import Transaction
from models.schema import Delivery

# How far a lane may run ahead of its rate (GCRA's tolerance): a dispatcher that looks a little late
# makes up for it, and a burst is one try and what a tenth of a second lets pass.
_AHEAD = timedelta(milliseconds=100)
# A lane with a try out for so long may hang: it gets a quarter of its cap until that one has come back,
# so that several such lanes do not hold every slot of the workers.
_LONG = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Woken:
    """What was handed out: pairs of delivery and number of the try.

    `again_in` is when the first lane that waits for its rate alone may go on; None when there is none.
    """

    due: Sequence[tuple[UUID, int]]
    again_in: timedelta | None = None


async def wake(tx: Transaction, slots: int, lease: timedelta, *, cap: int, rate: int) -> Woken:
    """Hand out what is due, the oldest of all lanes first; the dispatcher publishes it after the commit.

    A lane has at most `cap` tries in flight, one while it is slow, a quarter while one takes long, and
    begins `rate` a second, unless its endpoint has a rate of its own. Pauses, caps and rates hold exactly
    for callers one after the other (a dispatcher claims the duty); at once, they hand out nothing twice.
    """
    if slots <= 0:
        return Woken([])
    asked = {"slots": slots, "lease": lease, "cap": cap, "rate": rate}
    asked |= {"ahead": _AHEAD, "long": _LONG}
    rows = (await tx.execute(_WAKE, asked | {"ping": f"{lanes.PING}%"})).all()
    return Woken([(row.id, row.tries) for row in rows if row.id], rows[0].again_in)


# Every lane is looked at by itself: a backlog of one must not hide what is due in the others. `waiting`
# hops from lane to lane over ix_deliveries_due, so that a lane costs one look however much waits in it.
# The arrays keep the planner from joining with the whole table. With nothing due there is still one row.
_WAKE = text("""
    WITH RECURSIVE waiting AS (
        (SELECT lane, next_at, endpoint_id FROM deliveries
          WHERE state = 'pending' ORDER BY lane, next_at LIMIT 1)
        UNION ALL
        SELECT following.* FROM waiting CROSS JOIN LATERAL (
               SELECT lane, next_at, endpoint_id FROM deliveries
                WHERE state = 'pending' AND lane > waiting.lane ORDER BY lane, next_at LIMIT 1
               ) following
    ), busy AS (
        SELECT lane, count(*) AS n, bool_or(taken_at < now() - :long) AS hangs
          FROM deliveries WHERE state = 'sending' GROUP BY lane
    ), due AS (
        SELECT waiting.lane, CAST(coalesce(endpoints.rate_limit, :rate) AS float8) AS rate,
               greatest(lanes.free_at, now()) AS free_at,
               CASE WHEN lanes.slow THEN 1 WHEN busy.hangs THEN greatest(:cap / 4, 1) ELSE :cap END
               - coalesce(busy.n, 0) AS room
          FROM waiting LEFT JOIN lanes USING (lane) LEFT JOIN busy USING (lane)
               LEFT JOIN endpoints ON endpoints.id = waiting.endpoint_id
         WHERE waiting.next_at <= now() AND coalesce(lanes.paused_until <= now(), true)
    ), open AS (
        SELECT *, greatest(
               floor(rate * extract(epoch FROM now() + :ahead - free_at)) + 1, 0) AS pace
          FROM due WHERE room > 0
    ), chosen AS (
        SELECT first.id FROM open CROSS JOIN LATERAL (
               SELECT id, next_at FROM deliveries
                WHERE lane = open.lane AND state = 'pending' AND next_at <= now()
                ORDER BY next_at LIMIT least(open.room, open.pace)
               ) first
         ORDER BY first.next_at LIMIT :slots
    ), picked AS (
        SELECT id, lane FROM deliveries
         WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND state = 'pending'
           FOR UPDATE SKIP LOCKED
    ), sent AS (
        UPDATE deliveries SET state = 'sending', tries = tries + 1, next_at = NULL,
                              taken_at = NULL, lease_until = now() + :lease
         WHERE id = ANY (ARRAY(SELECT id FROM picked))
        RETURNING id, tries
    ), paced AS (
        INSERT INTO lanes (lane, free_at)
        SELECT lane, open.free_at + make_interval(secs => count(*) / open.rate)
          FROM picked JOIN open USING (lane) WHERE lane NOT LIKE :ping
         GROUP BY lane, open.free_at, open.rate ORDER BY lane
            ON CONFLICT (lane) DO UPDATE SET free_at = excluded.free_at
    )
    SELECT sent.id, sent.tries, again_in FROM (
           SELECT min(free_at + make_interval(secs => pace / rate) - :ahead) - now() AS again_in
             FROM open WHERE pace < room
           ) later LEFT JOIN sent ON true
""")


async def reap(tx: Transaction, batch: int) -> int:
    """Take back deliveries whose lease ran out; gives how many.

    A try that nobody took was never sent, so it does not count; one that was taken may have been sent:
    it counts, and is sent again at once (at least once). But a ping is sent once.
    """
    expired = (
        select(Delivery.id)
        .where(Delivery.state == "sending", Delivery.lease_until < func.now())
        .order_by(Delivery.lease_until)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    over = and_(Delivery.lane.startswith(lanes.PING), Delivery.taken_at.is_not(None))
    rows = await tx.execute(
        update(Delivery)
        .where(Delivery.id.in_(expired))
        .values(
            state=case((over, "exhausted"), else_="pending"),
            next_at=case((over, None), else_=func.now()),
            finished_at=case((over, func.now()), else_=None),
            lease_until=None,
            tries=Delivery.tries - cast(Delivery.taken_at.is_(None), Integer),
            taken_at=None,
        )
        .returning(Delivery.id)
    )
    return len(rows.all())


async def hand_back(tx: Transaction, parcels: Sequence[tuple[UUID, int]]) -> None:
    """Put back what was woken and could not be published; nothing was sent, no try was spent."""
    mine = or_(*(and_(Delivery.id == id_, Delivery.tries == n) for id_, n in parcels))
    await tx.execute(
        update(Delivery)
        .where(Delivery.state == "sending", Delivery.taken_at.is_(None), mine)
        .values(state="pending", next_at=func.now(), lease_until=None, tries=Delivery.tries - 1)
    )
