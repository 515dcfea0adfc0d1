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
from typing import TypedDict, Unpack
from uuid import UUID

from sqlalchemy import text

from models.coordination import aside
from models.platform.db.direct import Direct
from models.platform.db.statements import ASYNCHRONOUSLY, prepared
from models.platform.vault import Vault
from models.webhooks import destinations
from models.webhooks.deliveries.taking import SECRETS, ClaimedDelivery, claimed
from models.webhooks.deliveries.waking import BUSY, DUE_IN, LIMITS, MAY_BEGIN, OLDEST, PACE, RATE

Place = tuple[UUID, str]  # a project, and a destination of its own


class Limits(TypedDict):
    """What bounds a worker: its `free` slots, the lease of a try, and caps and rates as in `wake`."""

    free: int
    lease: timedelta
    cap: int
    rate: int


async def wake_here(
    direct: Direct,
    vault: Vault,
    wanted: Mapping[Place, int],
    **limits: Unpack[Limits],
) -> list[ClaimedDelivery]:
    """Take so many of what is due in each of these places, oldest first, for a worker.

    Fewer where a cap, a rate, a pause or the project's share of what is free is in the way; these are left
    to the dispatcher.
    """
    rows = await direct.write_all(
        _WAKE_HERE,
        {
            "projects": [project_id for project_id, _ in wanted],
            "lanes": [destination for _, destination in wanted],
            "wanted": list(wanted.values()),
            **limits,
            **LIMITS,
        },
    )
    return [claimed(row, vault) for row in rows]


# What is due first in each of these places, which are asked for so many of their own.
ASKED = f"""
        SELECT {{of}}.*, first.endpoint_id FROM {{asked}} CROSS JOIN LATERAL (
               SELECT endpoint_id FROM deliveries d
                WHERE {DUE_IN.format(which="d", of="{of}")}
                ORDER BY {OLDEST.format(which="d")} LIMIT 1
               ) first"""  # noqa: S608 - constants of ours


# What becomes of those that are chosen.
_TAKEN = f"""paced AS (
        {PACE.format(chosen="chosen")}
         WHERE lanes.slow IS NOT true AND greatest(lanes.free_at, now()) <= now() + :ahead
        RETURNING lane
    ), taken AS (
        UPDATE deliveries d SET state = 'sending', tries = tries + 1, next_at = NULL, taken_at = now(),
                                lease_until = now() + :lease, url = coalesce(its_url, url)
          FROM chosen JOIN paced USING (lane) WHERE d.id = chosen.id AND state || '' = 'pending'
        RETURNING d.*
    ), behind AS MATERIALIZED (
        SELECT project_id, lane, EXISTS (SELECT FROM (
               SELECT FROM deliveries d
                WHERE {DUE_IN.format(which="d", of="places")}
                  AND d.id <> ALL (ARRAY(SELECT id FROM taken))
                ORDER BY {OLDEST.format(which="d")} LIMIT 1) next) AS more
          FROM (SELECT DISTINCT project_id, lane FROM taken) places
    )"""  # noqa: S608 - constants of ours


def taking(asked: str, *, free: str = ":free", but: str = "") -> str:
    """Write the steps that take what is due: `taken`, and whether more is `behind`.

    `but` says what is not in flight any more, though it was when the statement began. Each step looks at
    the one before it alone: at the destinations that are `asked` for, whatever else waits. What others have
    locked is theirs; then the next is as good.
    """
    theirs = f"AND project_id = ANY (ARRAY(SELECT project_id FROM asked)) {but}"  # noqa: S608 - ours
    return f"""asked AS ({asked}
    ), {BUSY.format(of=theirs)}
    ), paces AS (
        SELECT asked.*, least(wanted, :cap - coalesce(busy.n, 0)) AS room,
               {RATE}, endpoints.url AS its_url
          FROM asked LEFT JOIN busy USING (project_id, lane) LEFT JOIN lanes USING (lane)
               LEFT JOIN endpoints ON endpoints.id = asked.endpoint_id
         WHERE busy.hangs IS NOT true AND lanes.slow IS NOT true
           AND coalesce(lanes.paused_until <= now(), true)
           AND coalesce(endpoints.enabled AND endpoints.deleted_at IS NULL, asked.endpoint_id IS NULL)
    ), due AS (
        SELECT first.id, lane, rate, project_id, its_url,
               row_number() OVER (PARTITION BY project_id ORDER BY first.next_at, first.id) AS nth
          FROM paces CROSS JOIN LATERAL (
               SELECT id, next_at FROM deliveries d
                WHERE {DUE_IN.format(which="d", of="paces")}
                  AND d.id <> ALL ({aside.passed("wake")})
                  AND NOT EXISTS (SELECT FROM lanes u
                       WHERE d.endpoint_id IS NULL AND u.paused_until > now()
                         AND u.lane = concat('{destinations.URL}', d.project_id, ':', md5(d.url)))
                ORDER BY {OLDEST.format(which="d")} LIMIT greatest(least(room, {MAY_BEGIN}), 0)
                  FOR NO KEY UPDATE SKIP LOCKED
               ) first
    ), chosen AS (
        SELECT due.* FROM due LEFT JOIN held USING (project_id)
         WHERE coalesce(held.n, 0) + nth
               <= CASE WHEN hangs THEN :share_long ELSE :share END * ({free})
    ), {_TAKEN}"""  # noqa: S608 - constants of ours


# What `claimed` reads of each that is taken.
CLAIMS = f"""
    SELECT taken.id, tries, taken.project_id, taken.job_id, event_id, endpoint_id, taken.url, lane,
           tries_before, body, {SECRETS},
           (SELECT traceparent FROM jobs WHERE jobs.id = taken.job_id) AS traceparent,
           more
      FROM taken JOIN behind USING (project_id, lane)
           JOIN events ON events.id = event_id JOIN projects ON projects.id = taken.project_id
           LEFT JOIN endpoints ON endpoints.id = endpoint_id"""  # noqa: S608 - constants of ours

_PLACES = f"""
          (SELECT places.* FROM {ASYNCHRONOUSLY}, unnest(
                  CAST(:projects AS uuid[]), CAST(:lanes AS text[]), CAST(:wanted AS bigint[])
                  ) AS places (project_id, lane, wanted)) places"""  # noqa: S608 - constants of ours
_WAKE_HERE = prepared(text(f"WITH {taking(ASKED.format(of='places', asked=_PLACES))} {CLAIMS}"))
