"""Counts of what waits and what is in flight, for metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from models.coordination.workers import SLOTS
from models.platform.db.statements import Reader, prepared
from models.states import DELIVERY_DUE, JOB_IN_FLIGHT, unknown_charge


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many jobs of one priority wait for one reason, and the age of the oldest in seconds."""

    reason: str
    priority: str
    jobs: int
    oldest: float
    runnable: bool  # due: it waits for a place alone, or for a gate


@dataclass(frozen=True, slots=True)
class Backlog:
    """One look at everything unfinished but what waits; ages in seconds, charges in credits."""

    released: int
    running: int
    unknown_charges: int
    unknown_credits: int
    oldest_unknown: float
    deliveries_pending: int
    oldest_delivery: float
    deliveries_sending: int
    workers: int
    generate_slots: int


async def waiting(tx: Reader) -> Sequence[Waiting]:
    """Count the jobs that wait, by the reason that they are shown with; history costs nothing."""
    return [
        Waiting(row["reason"], row["priority"], row["n"], float(row["oldest"]), row["runnable"])
        for row in await tx.read(_WAITING, {})
    ]


async def read(tx: Reader, *, seen: timedelta) -> Backlog:
    """Count what is unfinished, and the workers that were seen so lately.

    Each count is of a partial index, so history costs nothing.
    """
    (row,) = await tx.read(_READ, {"seen": seen})
    return Backlog(
        released=int(row["released"]),
        running=int(row["running"]),
        unknown_charges=int(row["unknown_charges"]),
        unknown_credits=int(row["unknown_credits"]),
        oldest_unknown=float(row["oldest_unknown"]),
        deliveries_pending=int(row["pending"]),
        oldest_delivery=float(row["oldest_delivery"]),
        deliveries_sending=int(row["sending"]),
        workers=int(row["workers"]),
        generate_slots=int(row["generate_slots"]),
    )


# The reason as `view.waiting_reason` has it, but for gates of single projects.
_WAITING = prepared(
    text("""
    SELECT CASE WHEN runnable THEN coalesce(gate.reason, 'queue')
                ELSE coalesce(waiting_reason, 'backoff') END AS reason,
           priority, runnable, count(*) AS n, extract(epoch FROM now() - min(created_at)) AS oldest
      FROM (SELECT priority, created_at, waiting_reason, coalesce(run_after <= now(), false) AS runnable
              FROM jobs WHERE status = 'queued') queued
           LEFT JOIN (SELECT reason FROM gates WHERE project_id IS NULL ORDER BY closed_at LIMIT 1) gate
                  ON true
     GROUP BY 1, 2, 3
""")
)

_READ = prepared(
    text(f"""
    SELECT j.released, j.running,
           a.n AS unknown_charges, a.credits AS unknown_credits, a.oldest AS oldest_unknown,
           d.pending, d.oldest AS oldest_delivery, d.sending, w.workers, w.generate_slots
      FROM (SELECT count(*) FILTER (WHERE status = 'released') AS released,
                   count(*) FILTER (WHERE status = 'running') AS running
              FROM jobs WHERE {JOB_IN_FLIGHT}) j,
           (SELECT count(*) AS n, coalesce(sum(hold), 0) AS credits,
                   coalesce(extract(epoch FROM now() - min(sent_at)), 0) AS oldest FROM attempts
             WHERE {unknown_charge()}) a,
           (SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
                   coalesce(extract(epoch FROM now() - min(next_at)
                            FILTER (WHERE {DELIVERY_DUE})), 0) AS oldest,
                   count(*) FILTER (WHERE state = 'sending') AS sending
              FROM deliveries WHERE state = 'pending' OR state = 'sending') d,
           ({SLOTS}) w
""")  # noqa: S608 - constants of ours
)
