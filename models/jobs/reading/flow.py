"""How a project's jobs went by, minute by minute: accepted, started, ended.

Each minute is read from the end of an index, and up to `MOST` jobs of it: an hour costs the same however
many jobs there are, and however many come at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text

from models import ids
from models.platform.db import Transaction
from models.states import JOB_IN_FLIGHT

MINUTES = 60
MOST = 2_000  # jobs of a minute that are counted
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Minute:
    """What happened from `at` on, within a minute. `at_least`: there was more than is counted."""

    at: datetime
    accepted: int
    started: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    at_least: bool


async def flow(tx: Transaction, project_id: UUID, now: datetime) -> Sequence[Minute]:
    """Return the last hour, oldest minute first; the last one is still going on.

    A job counts as accepted in the minute that its id was made, as started when its first call was.
    """
    last = now.replace(second=0, microsecond=0)
    minutes = [last - _MINUTE * n for n in reversed(range(MINUTES))]
    asked = {
        "project": project_id,
        "minutes": minutes,
        "firsts": [ids.first_at(each) for each in minutes],
        "lasts": [ids.first_at(each + _MINUTE) for each in minutes],
        "since": minutes[0],
        "most": MOST,
    }
    rows = await tx.execute(_FLOW, asked)
    return [
        Minute(
            row.at, row.accepted, row.started, row.succeeded, row.failed, row.canceled, row.expired,
            at_least=max(row.accepted, row.ended) >= MOST,
        )
        for row in rows
    ]  # fmt: skip


# A job that was started within the hour has ended within it, or is in flight, or waits for another try.
_FLOW = text(f"""
    WITH minutes AS (
        SELECT * FROM unnest(:minutes, :firsts, :lasts) AS m (at, first, last)
    ), ended AS MATERIALIZED (
        SELECT m.at, e.status, e.started_at FROM minutes m CROSS JOIN LATERAL (
            SELECT status, started_at FROM jobs
             WHERE project_id = :project AND finished_at >= m.at AND finished_at < m.at + interval '1 min'
             LIMIT :most) e
    ), begun AS (
        SELECT date_trunc('minute', started_at, 'UTC') AS at, count(*) AS n FROM (
            SELECT started_at FROM ended
             UNION ALL
            SELECT started_at FROM jobs WHERE {JOB_IN_FLIGHT} AND project_id = :project
             UNION ALL
            SELECT started_at FROM (
                SELECT started_at FROM jobs WHERE project_id = :project AND status = 'queued'
                 LIMIT :most) queued
            ) all_ WHERE started_at >= :since GROUP BY 1
    ), done AS (
        SELECT at, count(*) AS n, count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'canceled') AS canceled,
               count(*) FILTER (WHERE status = 'expired') AS expired
          FROM ended GROUP BY 1
    )
    SELECT m.at, a.n AS accepted, coalesce(b.n, 0) AS started, coalesce(d.n, 0) AS ended,
           coalesce(d.succeeded, 0) AS succeeded, coalesce(d.failed, 0) AS failed,
           coalesce(d.canceled, 0) AS canceled, coalesce(d.expired, 0) AS expired
      FROM minutes m
     CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
            SELECT FROM jobs WHERE project_id = :project AND id >= m.first AND id < m.last
             LIMIT :most) made) a
      LEFT JOIN begun b ON b.at = m.at
      LEFT JOIN done d ON d.at = m.at
     ORDER BY m.at
""").bindparams(  # noqa: S608 - a constant of ours
    bindparam("minutes", type_=ARRAY(DateTime(timezone=True))),
    bindparam("firsts", type_=ARRAY(Uuid())),
    bindparam("lasts", type_=ARRAY(Uuid())),
    bindparam("project", type_=Uuid()),
)
