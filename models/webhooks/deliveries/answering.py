"""How an endpoint has answered lately: its tries by the hour, of a few deliveries of each.

What came in an hour is found by its ids, which begin with the time. So it costs the same whether an
endpoint is told of ten events a day or ten a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from models import ids
from models.platform.db import Transaction

HOURS = 24
_DELIVERIES = 50  # of each hour, the newest
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Answers:
    """What tries met: how many there were, how many met a 2xx, and the milliseconds that those took."""

    tries: int
    succeeded: int
    median_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers of a day: in all, and by the hour in which their deliveries came, the oldest first."""

    all: Answers
    hours: Sequence[tuple[datetime, Answers]]


async def answers(tx: Transaction, endpoint_id: UUID, now: datetime) -> Answered:
    """Return how an endpoint answered in the hour of `now` and the 23 before it."""
    last = now.replace(minute=0, second=0, microsecond=0)
    starts = [last - n * _HOUR for n in range(HOURS - 1, -1, -1)]
    bounds = [ids.first_at(each) for each in (*starts, last + _HOUR)]
    values = {"endpoint": endpoint_id, "firsts": bounds[:-1], "lasts": bounds[1:]}
    *hours, whole = [Answers(*row) for row in await tx.execute(_ANSWERS, values)]
    return Answered(whole, list(zip(starts, hours, strict=True)))


_TOOK = "WITHIN GROUP (ORDER BY t.latency_ms) FILTER (WHERE t.http_status BETWEEN 200 AND 299)"
_ANSWERS = text(f"""
    SELECT count(t.at), count(*) FILTER (WHERE t.http_status BETWEEN 200 AND 299),
           percentile_disc(0.5) {_TOOK}, percentile_disc(0.95) {_TOOK}
      FROM unnest(CAST(:firsts AS uuid[]), CAST(:lasts AS uuid[]))
           WITH ORDINALITY hour (first, last, place)
      LEFT JOIN LATERAL (
           SELECT id FROM deliveries
            WHERE endpoint_id = :endpoint AND id >= hour.first AND id < hour.last
            ORDER BY id DESC LIMIT {_DELIVERIES}
           ) d ON true
      LEFT JOIN delivery_tries t ON t.delivery_id = d.id
     GROUP BY GROUPING SETS ((hour.place), ()) ORDER BY hour.place NULLS LAST
""")  # noqa: S608 - constants of this file
