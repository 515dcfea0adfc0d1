"""How many slots of workers could be of use now: a scaler follows this number, never the backlog.

Ten thousand jobs behind a limit of forty want forty places. What is closed by a gate, paused, capped, or
waits for something other than a place wants none; what is in flight keeps its own.
"""

from dataclasses import dataclass

from sqlalchemy import text

from models.platform.db.statements import Reader, prepared
from models.provider import pauses
from models.states import DELIVERY_DUE, JOB_IN_FLIGHT, JOB_PAID, JOB_READY


@dataclass(frozen=True, slots=True)
class Demand:
    """Places wanted: for paid calls and the keeping of their images, and for deliveries."""

    generate: int
    deliver: int


async def wanted(tx: Reader, *, limit: int, tries_cap: int) -> Demand:
    """Count the places wanted within the provider's `limit`, and `tries_cap` tries to one receiver.

    A project is looked at for at most `limit` jobs, so a long backlog costs no more than a short one.
    """
    (row,) = await tx.read(_WANTED, {"limit": limit, "cap": tries_cap})
    return Demand(int(row["calls"]) + int(row["keeping"]), int(row["deliveries"]))


_WANTED = prepared(
    text(f"""
    WITH RECURSIVE owners AS (
        (SELECT project_id FROM jobs WHERE {JOB_READY} ORDER BY project_id, model, rank, id LIMIT 1)
         UNION ALL
        SELECT next.* FROM owners, LATERAL (
            SELECT project_id FROM jobs WHERE {JOB_READY} AND project_id > owners.project_id
             ORDER BY project_id, model, rank, id LIMIT 1) next
    ), flight AS MATERIALIZED (
        SELECT project_id, count(*) FILTER (WHERE phase = 'call') AS calls,
               count(*) FILTER (WHERE phase = 'keep') AS keeping
          FROM jobs WHERE {JOB_IN_FLIGHT} GROUP BY 1
    ), stopped AS MATERIALIZED (
{pauses.STOPPED}
    ), mine AS (
        SELECT coalesce(flight.calls, 0) AS busy, p.cap,
               (SELECT count(*) FROM (
                   SELECT FROM jobs WHERE {JOB_READY} AND project_id = owners.project_id
                      AND run_after <= now() AND model <> ALL (stopped.models)
                    ORDER BY project_id, model, rank, id LIMIT :limit) first) AS due
          FROM owners JOIN projects p ON p.id = owners.project_id
               LEFT JOIN flight ON flight.project_id = owners.project_id, stopped
         WHERE NOT everything AND NOT EXISTS (SELECT FROM gates WHERE project_id IS NULL)
           AND CAST(owners.project_id AS text) <> ALL (stopped.projects)
           AND NOT EXISTS (SELECT FROM gates WHERE gates.project_id = owners.project_id)
    )
    SELECT least(:limit, coalesce((SELECT sum(calls) FROM flight), 0)
                         + coalesce((SELECT sum(greatest(least(busy + due, cap) - busy, 0)) FROM mine), 0)
           ) AS calls,
           coalesce((SELECT sum(keeping) FROM flight), 0)
           + (SELECT count(*) FROM jobs WHERE {JOB_PAID} AND run_after <= now())
           AS keeping,
           (SELECT coalesce(sum(least(n, CASE WHEN lanes.slow THEN 1 ELSE :cap END)), 0) FROM (
                SELECT lane, count(*) AS n FROM deliveries
                 WHERE state = 'sending' OR {DELIVERY_DUE} GROUP BY lane) due
             LEFT JOIN lanes USING (lane) WHERE coalesce(lanes.paused_until <= now(), true)
           ) AS deliveries
""")  # noqa: S608 - constants of ours
)
