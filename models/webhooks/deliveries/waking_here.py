"""pending → sending without the dispatcher: what a worker wakes for itself.

Its job has ended, and new deliveries are due; or a try of its has delivered, and something waits for that
place in the destination. Whatever is in doubt waits for the dispatcher, which shares places and keeps to
caps, pauses and rates (`waking`): a destination that is slow or paused, or has a try out that takes long.
What the dispatcher has set aside, because Postgres refuses it, is passed by here too.

At the same moment a dispatcher may wake for the same destination, and neither sees what the other does. So
whoever gives back no place in the same transaction uses half of a destination's cap only. The rate is one
row's, and holds exactly.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.coordination import aside
from models.platform.db.direct import Direct, DirectTransaction
from models.platform.db.statements import prepared
from models.states import DELIVERY_DUE
from models.webhooks.deliveries.taking import Woken
from models.webhooks.deliveries.waking import BUSY, LIMITS, MAY_BEGIN, PACE, RATE, SENDING

Place = tuple[UUID, str]  # a project, and a destination of its own


async def wake_here(
    driver: Direct | DirectTransaction,
    wanted: Mapping[Place, int],
    *,
    free: int,
    lease: timedelta,
    cap: int,
    rate: int,
) -> list[Woken]:
    """Hand out so many of what is due in each of these places, oldest first, to a worker with `free` slots.

    Fewer where a cap, a rate, a pause or the project's share of what is free is in the way; these are left
    to the dispatcher. `cap` and `rate` are as in `wake`.
    """
    rows = await driver.write_all(
        _WAKE_HERE,
        {
            "projects": [project_id for project_id, _ in wanted],
            "lanes": [destination for _, destination in wanted],
            "wanted": list(wanted.values()),
            "free": free,
            "lease": lease,
            "cap": cap,
            "rate": rate,
            **LIMITS,
        },
    )
    return [(row["id"], row["tries"]) for row in rows]


# Each step looks at the one before it alone: at these destinations, whatever else waits. What others have
# locked is theirs; then the next is as good.
_WAKE_HERE = prepared(
    text(f"""
    WITH asked AS (
        SELECT asked.*, first.endpoint_id
          FROM unnest(CAST(:projects AS uuid[]), CAST(:lanes AS text[]), CAST(:wanted AS bigint[]))
               AS asked (project_id, lane, wanted)
               CROSS JOIN LATERAL (
               SELECT endpoint_id FROM deliveries d
                WHERE d.project_id = asked.project_id AND d.lane = asked.lane
                  AND {DELIVERY_DUE} ORDER BY next_at LIMIT 1
               ) first
    ), {BUSY.format(of="AND project_id = ANY (ARRAY(SELECT project_id FROM asked))")}
    ), paces AS (
        SELECT asked.*, least(wanted, :cap - coalesce(busy.n, 0)) AS room,
               {RATE}
          FROM asked LEFT JOIN busy USING (project_id, lane) LEFT JOIN lanes USING (lane)
               LEFT JOIN endpoints ON endpoints.id = asked.endpoint_id
         WHERE busy.hangs IS NOT true AND lanes.slow IS NOT true
           AND coalesce(lanes.paused_until <= now(), true)
    ), due AS (
        SELECT mine.id, lane, rate, project_id,
               row_number() OVER (PARTITION BY project_id ORDER BY mine.next_at, mine.id) AS nth
          FROM paces CROSS JOIN LATERAL (
               SELECT id, next_at FROM deliveries d
                WHERE d.project_id = paces.project_id AND d.lane = paces.lane
                  AND {DELIVERY_DUE} AND d.id <> ALL ({aside.passed("wake")})
                ORDER BY next_at LIMIT greatest(least(room, {MAY_BEGIN}), 0)
                  FOR NO KEY UPDATE SKIP LOCKED
               ) mine
    ), chosen AS (
        SELECT due.* FROM due LEFT JOIN held USING (project_id)
         WHERE coalesce(held.n, 0) + nth <= CASE WHEN hangs THEN :share_long ELSE :share END * :free
    ), paced AS (
        {PACE.format(chosen="chosen")}
         WHERE lanes.slow IS NOT true AND greatest(lanes.free_at, now()) <= now() + :ahead
        RETURNING lane
    )
    UPDATE deliveries d SET {SENDING}
      FROM chosen JOIN paced USING (lane) WHERE d.id = chosen.id AND state || '' = 'pending'
    RETURNING d.id, tries
""")  # noqa: S608 - a constant of ours
)
