"""Tries that came together, written down in one statement: what nearly every try is.

That is, it delivered, and neither endpoint nor destination was in trouble; or it failed, will be tried
again, asks for no pause, and its endpoint is far from being disabled. Those that hang end together as they
began, so what slows their destinations is in the statement too. Each statement does what `record` does,
under the same guards, or leaves a line out. It waits for nobody: what others have locked is left out too,
so that no try waits for another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from models.platform.db.direct import Direct
from models.platform.db.statements import ASYNCHRONOUSLY, Row, prepared
from models.webhooks import destinations
from models.webhooks.deliveries.disabling import CLOCKS_APART, IN_A_ROW, REST, Patience
from models.webhooks.deliveries.recording import LOGGED, TryResult
from models.webhooks.deliveries.waking import DUE


@dataclass(frozen=True, slots=True)
class Tried:
    """A try of a delivery: `at` is when it was sent, and `met` what came of it."""

    delivery_id: UUID
    number: int
    at: datetime
    met: TryResult

    @property
    def plain(self) -> bool:
        """Whether it may be written down with others."""
        later = self.met.state == "pending" and self.met.endpoint == "keep"
        return self.met.state == "delivered" or (later and not self.met.pause)


@dataclass(frozen=True, slots=True)
class Written:
    """Which tries were written down, in their order; and whether any delivery waits for a place now."""

    done: Sequence[bool]
    due: bool


async def record_plain(direct: Direct, patience: Patience, tries: Sequence[Tried]) -> Written:
    """Write down tries, all of them `plain`, in two round trips at most. One that is left out is untouched.

    Nobody has been rung for about the places that are free now: they are the caller's to ring
    for when something is due. What becomes due later rings by itself.
    """
    delivered = [each for each in tries if each.met.state == "delivered"]
    failed = [each for each in tries if each.met.state != "delivered"]
    moved = list[Row]()
    if delivered:
        moved += await direct.write_all(_DELIVERED, told_of(delivered))
    if failed:
        waits = {
            "wait": [each.met.next_in for each in failed],
            "slows": [each.met.pause is not None for each in failed],
        }
        soonest = {"soonest": min(patience.failing, patience.busy)}
        moved += await direct.write_all(_FAILED, told_of(failed) | waits | soonest)
    return written(direct, tries, moved)


def written(direct: Direct, tries: Sequence[Tried], rows: Sequence[Row]) -> Written:
    """Return which tries are among these `rows`, and ring for whoever watches their deliveries."""
    done = {(row["ended"], row["number"]) for row in rows}
    for delivery_id, _ in done:
        direct.ring("delivery", str(delivery_id))
    return Written(
        [(each.delivery_id, each.number) in done for each in tries],
        due=any(row["due"] for row in rows),
    )


def told_of(tries: Sequence[Tried]) -> dict[str, object]:
    """Return what a statement is told of tries, column by column."""
    return {
        "delivery": [each.delivery_id for each in tries],
        "number": [each.number for each in tries],
        "at": [each.at for each in tries],
        "http_status": [each.met.http_status for each in tries],
        "latency": [round(each.met.latency.total_seconds() * 1000) for each in tries],
        "result": [each.met.result for each in tries],
    }


_LINES = """
            CAST(:delivery AS uuid[]), CAST(:number AS bigint[]), CAST(:at AS timestamptz[]),
            CAST(:http_status AS bigint[]), CAST(:latency AS bigint[]), CAST(:result AS text[])"""
_LOGGED = LOGGED.format(
    tried="delivery, number, at, http_status, latency, result FROM moved", decides="true"
)


def delivering(told: str = "", names: str = "") -> str:
    """Write the steps that end what delivered, `moved` and `tried`; more may be told of each line."""
    return f"""mine AS (
        SELECT d.id, d.project_id, d.lane, line.* FROM deliveries d JOIN unnest({_LINES} {told}
               ) AS line (delivery, number, at, http_status, latency, result {names})
            ON d.id = delivery AND tries = number CROSS JOIN {ASYNCHRONOUSLY}
         WHERE state || '' = 'sending'
           AND NOT starts_with(d.lane, '{destinations.HAND}')
           AND NOT starts_with(d.lane, '{destinations.PING}')
           AND NOT EXISTS (SELECT FROM lanes WHERE lanes.lane = d.lane AND slow)
           AND NOT EXISTS (SELECT FROM endpoints e
                            WHERE e.id = d.endpoint_id AND failing_since IS NOT NULL)
           FOR NO KEY UPDATE OF d SKIP LOCKED
    ), moved AS (
        UPDATE deliveries d SET state = 'delivered', lease_until = NULL, taken_at = NULL,
               next_at = NULL, finished_at = now()
          FROM mine WHERE d.id = mine.id AND d.state || '' = 'sending' AND d.tries = mine.number
        RETURNING mine.*
    ), tried AS ({_LOGGED}
    )"""  # noqa: S608 - constants of ours


_DELIVERED = prepared(
    text(f"WITH {delivering()} SELECT id AS ended, number, {DUE} AS due FROM moved")  # noqa: S608 - ours
)

_FAILED = prepared(
    text(f"""
    WITH mine AS (
        SELECT d.id, d.endpoint_id, d.lane, line.* FROM deliveries d JOIN unnest({_LINES},
               CAST(:wait AS interval[]), CAST(:slows AS boolean[])
               ) AS line (delivery, number, at, http_status, latency, result, wait, slows)
            ON d.id = delivery AND tries = number CROSS JOIN {ASYNCHRONOUSLY}
         WHERE state || '' = 'sending'
           AND NOT starts_with(d.lane, '{destinations.HAND}')
           AND NOT starts_with(d.lane, '{destinations.PING}')
           FOR NO KEY UPDATE OF d SKIP LOCKED
    ), patient AS (
        SELECT id, url, failing_since, failing_deliveries FROM endpoints
         WHERE id IN (SELECT endpoint_id FROM mine) AND enabled AND deleted_at IS NULL
           AND coalesce(failing_since > now() - CAST(:soonest AS interval), true)
           FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE deliveries d SET state = 'pending', lease_until = NULL, taken_at = NULL,
               next_at = now() + wait
          FROM mine LEFT JOIN patient ON patient.id = endpoint_id
         WHERE d.id = mine.id AND d.state || '' = 'sending' AND d.tries = mine.number
           AND (mine.endpoint_id IS NULL OR d.url = patient.url)
        RETURNING mine.*, failing_since, failing_deliveries
    ), counted AS (
        UPDATE endpoints e SET failing_since = coalesce(e.failing_since, now()),
               failing_deliveries = failing_deliveries + n
          FROM (SELECT endpoint_id, count(*) AS n FROM moved
                 WHERE endpoint_id IS NOT NULL AND (failing_since IS NULL OR NOT EXISTS (
                       SELECT FROM delivery_tries t
                        WHERE t.delivery_id = moved.id AND t.number < moved.number
                          AND t.at >= failing_since - {CLOCKS_APART}))
                 GROUP BY endpoint_id) news
         WHERE e.id = news.endpoint_id
    ), slowed AS (
        INSERT INTO lanes (lane, slow, paused_until)
        SELECT lane, true, now() + CASE WHEN bool_or(tires) THEN {REST} ELSE interval '0' END
          FROM (SELECT lane, slows, failing_deliveries + 1 >= {IN_A_ROW} AS tires FROM moved) seen
         WHERE slows OR tires GROUP BY lane ORDER BY lane
            ON CONFLICT (lane) DO UPDATE SET slow = true,
               paused_until = greatest(lanes.paused_until, excluded.paused_until)
    ), tried AS ({_LOGGED}
    )
    SELECT id AS ended, number, {DUE} AS due FROM moved
""")  # noqa: S608 - constants of ours
)
