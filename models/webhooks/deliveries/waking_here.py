"""pending → sending without the dispatcher: what a worker wakes for itself, and has taken with that.

Its job has ended, and new deliveries are due; or a try of its has delivered, and something waits for that
place in the destination. Whatever is in doubt waits for the dispatcher, which shares places and keeps to
caps, pauses and rates (`waking`): a destination that is slow or paused, or has a try out that takes long;
an endpoint that wants nothing now.
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
from models.platform.db.statements import ASYNCHRONOUSLY, prepared
from models.platform.vault import Vault
from models.webhooks import destinations
from models.webhooks.deliveries.taking import SECRETS, ClaimedDelivery, claimed
from models.webhooks.deliveries.waking import BUSY, DUE_IN, LIMITS, MAY_BEGIN, OLDEST, PACE, RATE

Place = tuple[UUID, str]  # a project, and a destination of its own


async def wake_here(
    driver: Direct | DirectTransaction,
    vault: Vault,
    wanted: Mapping[Place, int],
    *,
    free: int,
    lease: timedelta,
    cap: int,
    rate: int,
) -> list[ClaimedDelivery]:
    """Take so many of what is due in each of these places, oldest first, for a worker with `free` slots.

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
    return [claimed(row, vault) for row in rows]


# Each step looks at the one before it alone: at these destinations, whatever else waits. What others have
# locked is theirs; then the next is as good.
_WAKE_HERE = prepared(
    text(f"""
    WITH asked AS (
        SELECT asked.*, first.endpoint_id
          FROM unnest(CAST(:projects AS uuid[]), CAST(:lanes AS text[]), CAST(:wanted AS bigint[]))
               AS asked (project_id, lane, wanted) CROSS JOIN {ASYNCHRONOUSLY} CROSS JOIN LATERAL (
               SELECT endpoint_id FROM deliveries d
                WHERE {DUE_IN.format(which="d", of="asked")}
                ORDER BY {OLDEST.format(which="d")} LIMIT 1
               ) first
    ), {BUSY.format(of="AND project_id = ANY (ARRAY(SELECT project_id FROM asked))")}
    ), paces AS (
        SELECT asked.*, least(wanted, :cap - coalesce(busy.n, 0)) AS room,
               {RATE}, endpoints.url AS its_url
          FROM asked LEFT JOIN busy USING (project_id, lane) LEFT JOIN lanes USING (lane)
               LEFT JOIN endpoints ON endpoints.id = asked.endpoint_id
         WHERE busy.hangs IS NOT true AND lanes.slow IS NOT true
           AND coalesce(lanes.paused_until <= now(), true)
           AND coalesce(endpoints.enabled AND endpoints.deleted_at IS NULL, asked.endpoint_id IS NULL)
    ), due AS (
        SELECT mine.id, lane, rate, project_id, its_url,
               row_number() OVER (PARTITION BY project_id ORDER BY mine.next_at, mine.id) AS nth
          FROM paces CROSS JOIN LATERAL (
               SELECT id, next_at FROM deliveries d
                WHERE {DUE_IN.format(which="d", of="paces")}
                  AND d.id <> ALL ({aside.passed("wake")})
                  AND NOT EXISTS (SELECT FROM lanes u
                       WHERE d.endpoint_id IS NULL AND u.paused_until > now()
                         AND u.lane = concat('{destinations.URL}', d.project_id, ':', md5(d.url)))
                ORDER BY {OLDEST.format(which="d")} LIMIT greatest(least(room, {MAY_BEGIN}), 0)
                  FOR NO KEY UPDATE SKIP LOCKED
               ) mine
    ), chosen AS (
        SELECT due.* FROM due LEFT JOIN held USING (project_id)
         WHERE coalesce(held.n, 0) + nth <= CASE WHEN hangs THEN :share_long ELSE :share END * :free
    ), paced AS (
        {PACE.format(chosen="chosen")}
         WHERE lanes.slow IS NOT true AND greatest(lanes.free_at, now()) <= now() + :ahead
        RETURNING lane
    ), taken AS (
        UPDATE deliveries d SET state = 'sending', tries = tries + 1, next_at = NULL, taken_at = now(),
                                lease_until = now() + :lease, url = coalesce(its_url, url)
          FROM chosen JOIN paced USING (lane) WHERE d.id = chosen.id AND state || '' = 'pending'
        RETURNING d.*
    )
    SELECT taken.id, tries, taken.project_id, taken.job_id, event_id, endpoint_id, taken.url, lane,
           tries_before, body, {SECRETS},
           (SELECT traceparent FROM jobs WHERE jobs.id = taken.job_id) AS traceparent,
           more
      FROM taken JOIN (
           SELECT project_id, lane, EXISTS (SELECT FROM (
                  SELECT FROM deliveries d
                   WHERE {DUE_IN.format(which="d", of="places")}
                     AND d.id <> ALL (ARRAY(SELECT id FROM taken))
                   ORDER BY {OLDEST.format(which="d")} LIMIT 1) next) AS more
             FROM (SELECT DISTINCT project_id, lane FROM taken) places
           ) behind USING (project_id, lane)
           JOIN events ON events.id = event_id JOIN projects ON projects.id = taken.project_id
           LEFT JOIN endpoints ON endpoints.id = endpoint_id
""")  # noqa: S608 - constants of ours
)
