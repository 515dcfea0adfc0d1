"""pending → sending without the dispatcher, for what has just come to be and has nothing in its way.

The worker whose job has ended asks for its deliveries. Whatever is in doubt waits for the dispatcher, which
shares places and keeps to caps, pauses and rates (`waking`): a destination that is slow, that has a try out
which takes long, or in which something older is due.

At the same moment a dispatcher may wake for the same destination, and neither sees what the other does. So
only half of a destination's cap is for this way; the rate is one row's, and holds exactly.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.platform.db.direct import Direct
from models.platform.db.statements import prepared
from models.webhooks import destinations
from models.webhooks.deliveries.taking import Woken
from models.webhooks.deliveries.waking import LIMITS, PACE

# What has been due for longer goes first. What has not may be another worker's, who asks for it just now.
_MOMENT = timedelta(milliseconds=250)


async def wake_at_once(
    direct: Direct,
    new: Sequence[UUID],
    *,
    free: int,
    lease: timedelta,
    cap: int,
    rate: int,
) -> list[Woken]:
    """Hand out deliveries, just written, to whoever asks and has `free` places; the others stay due.

    A project gets no more of these places than its share. `cap` and `rate` are as in `wake`.
    """
    rows = await direct.write_all(
        _WAKE_AT_ONCE,
        {
            "new": new,
            "free": free,
            "lease": lease,
            "cap": cap,
            "rate": rate,
            "moment": _MOMENT,
            **LIMITS,
        },
    )
    return [(row["id"], row["tries"]) for row in rows]


_WAKE_AT_ONCE = prepared(
    text(f"""
    WITH own AS (
        SELECT d.id, d.project_id, d.lane, d.url, d.endpoint_id,
               row_number() OVER (PARTITION BY d.project_id ORDER BY d.id) AS of_project,
               row_number() OVER (PARTITION BY d.project_id, d.lane ORDER BY d.id) AS of_lane
          FROM deliveries d WHERE d.id = ANY (CAST(:new AS uuid[])) AND state || '' = 'pending'
    ), out AS (
        SELECT project_id, lane, taken_at < now() - :long AS hangs FROM deliveries
         WHERE state = 'sending' AND project_id = ANY (ARRAY(SELECT project_id FROM own))
    ), held AS (
        SELECT project_id, count(*) AS n, bool_or(hangs) AS hangs FROM out GROUP BY project_id
    ), busy AS (
        SELECT project_id, lane, count(*) AS n, bool_or(hangs) AS hangs FROM out GROUP BY project_id, lane
    ), fit AS (
        SELECT own.id, own.lane, CAST(coalesce(e.rate_limit, :rate) AS float8) AS rate
          FROM own LEFT JOIN held USING (project_id) LEFT JOIN busy USING (project_id, lane)
               LEFT JOIN lanes USING (lane) LEFT JOIN endpoints e ON e.id = own.endpoint_id
         WHERE coalesce(held.n, 0) + of_project
               <= CASE WHEN held.hangs THEN :share_long ELSE :share END * :free
           AND coalesce(busy.n, 0) + of_lane <= :cap / 2 AND busy.hangs IS NOT true
           AND lanes.slow IS NOT true AND coalesce(lanes.paused_until <= now(), true)
           AND coalesce(lanes.free_at, now()) + make_interval(secs =>
               (of_lane - 1) / CAST(coalesce(e.rate_limit, :rate) AS float8)) <= now() + :ahead
           AND NOT EXISTS (
               SELECT FROM lanes u WHERE own.endpoint_id IS NULL AND u.paused_until > now()
                  AND u.lane = concat('{destinations.URL}', own.project_id, ':', md5(own.url)))
           AND NOT EXISTS (
               SELECT FROM deliveries w WHERE w.project_id = own.project_id AND w.lane = own.lane
                  AND w.state = 'pending'
                  AND w.next_at < now() - :moment AND w.id <> ALL (CAST(:new AS uuid[])))
    ), picked AS (
        SELECT id FROM deliveries
         WHERE id = ANY (ARRAY(SELECT id FROM fit)) AND state || '' = 'pending'
           FOR UPDATE SKIP LOCKED
    ), paced AS (
        {PACE.format(chosen="picked JOIN fit USING (id)")}
         WHERE lanes.slow IS NOT true AND greatest(lanes.free_at, now()) <= now() + :ahead
        RETURNING lane
    )
    UPDATE deliveries SET state = 'sending', tries = tries + 1, next_at = NULL,
                          taken_at = NULL, lease_until = now() + :lease
      FROM picked WHERE deliveries.id = picked.id AND lane IN (SELECT lane FROM paced)
    RETURNING deliveries.id, tries
""")  # noqa: S608 - constants of ours
)
