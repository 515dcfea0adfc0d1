"""What waits and what is open, in numbers: for metrics."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from models.coordination.workers import SLOTS
from models.platform.db import Transaction
from models.states import JOB_IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Backlog:
    """One look at everything unfinished; ages in seconds, charges in credits."""

    queued: int
    oldest_queued: float
    released: int
    running: int
    unknown_charges: int
    unknown_credits: int
    deliveries_pending: int
    oldest_delivery: float
    deliveries_sending: int
    workers: int
    generate_slots: int


async def read(tx: Transaction, *, seen: timedelta) -> Backlog:
    """Count what is unfinished, and the workers that were seen so lately.

    Each count is of a partial index, so history costs nothing.
    """
    row = (await tx.execute(_READ, {"seen": seen})).one()
    return Backlog(
        queued=int(row.queued),
        oldest_queued=float(row.oldest_queued),
        released=int(row.released),
        running=int(row.running),
        unknown_charges=int(row.unknown_charges),
        unknown_credits=int(row.unknown_credits),
        deliveries_pending=int(row.pending),
        oldest_delivery=float(row.oldest_delivery),
        deliveries_sending=int(row.sending),
        workers=int(row.workers),
        generate_slots=int(row.generate_slots),
    )


_READ = text(f"""
    SELECT j.queued, j.oldest AS oldest_queued, j.released, j.running,
           a.n AS unknown_charges, a.credits AS unknown_credits,
           d.pending, d.oldest AS oldest_delivery, d.sending, w.workers, w.generate_slots
      FROM (SELECT count(*) FILTER (WHERE status = 'queued') AS queued,
                   coalesce(extract(epoch FROM now() - min(created_at)
                            FILTER (WHERE status = 'queued')), 0) AS oldest,
                   count(*) FILTER (WHERE status = 'released') AS released,
                   count(*) FILTER (WHERE status = 'running') AS running
              FROM jobs WHERE status = 'queued' OR {JOB_IN_FLIGHT}) j,
           (SELECT count(*) AS n, coalesce(sum(hold), 0) AS credits FROM attempts
             WHERE charge = 'unknown' AND finished_at IS NOT NULL) a,
           (SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
                   coalesce(extract(epoch FROM now() - min(next_at)
                            FILTER (WHERE state = 'pending' AND next_at < now())), 0) AS oldest,
                   count(*) FILTER (WHERE state = 'sending') AS sending
              FROM deliveries WHERE state = 'pending' OR state = 'sending') d,
           ({SLOTS}) w
""")  # noqa: S608 - constants of ours
