"""What waits and what is open, in numbers: for metrics."""

from dataclasses import dataclass

from sqlalchemy import text

from models.platform.db import Transaction


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


async def read(tx: Transaction) -> Backlog:
    """Count what is unfinished; each count is of a partial index, so history costs nothing."""
    row = (await tx.execute(_READ)).one()
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
        generate_slots=int(row.slots),
    )


_READ = text("""
    SELECT j.queued, j.oldest AS oldest_queued, j.released, j.running,
           a.n AS unknown_charges, a.credits AS unknown_credits,
           d.pending, d.oldest AS oldest_delivery, d.sending, w.n AS workers, w.slots
      FROM (SELECT count(*) FILTER (WHERE status = 'queued') AS queued,
                   coalesce(extract(epoch FROM now() - min(created_at)
                            FILTER (WHERE status = 'queued')), 0) AS oldest,
                   count(*) FILTER (WHERE status = 'released') AS released,
                   count(*) FILTER (WHERE status = 'running') AS running
              FROM jobs WHERE status = 'queued' OR status IN ('released', 'running')) j,
           (SELECT count(*) AS n, coalesce(sum(hold), 0) AS credits FROM attempts
             WHERE charge = 'unknown' AND finished_at IS NOT NULL) a,
           (SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
                   coalesce(extract(epoch FROM now() - min(next_at)
                            FILTER (WHERE state = 'pending' AND next_at < now())), 0) AS oldest,
                   count(*) FILTER (WHERE state = 'sending') AS sending
              FROM deliveries WHERE state = 'pending' OR state = 'sending') d,
           (SELECT count(*) AS n, coalesce(sum(generate_slots), 0) AS slots FROM workers
             WHERE NOT draining AND seen_at > now() - interval '20 seconds') w
""")
