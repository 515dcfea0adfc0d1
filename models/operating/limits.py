"""The provider's limit over time: a sample each minute, from whichever dispatcher comes first."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, text

from models.platform.db import Transaction
from models.platform.db.direct import Direct, DirectTransaction
from models.platform.db.statements import prepared
from models.schema import LimitSample

_KEPT = timedelta(days=8)  # a week, and the day before it


async def sample(direct: Direct | DirectTransaction, calls: int, in_flight: int) -> None:
    """Keep how the limit stands: of a minute its last limit, and the most calls seen in flight."""
    await direct.write_all(_SAMPLE, {"calls": calls, "in_flight": in_flight})


async def over(tx: Transaction, since: datetime, until: datetime) -> list[LimitSample]:
    """Return the samples of a time, the oldest first."""
    wanted = select(LimitSample).where(LimitSample.at >= since, LimitSample.at < until)
    return list(await tx.scalars(wanted.order_by(LimitSample.at)))


async def forget(tx: Transaction) -> None:
    """Forget samples that are older than a week."""
    await tx.execute(delete(LimitSample).where(LimitSample.at < func.now() - _KEPT))


_SAMPLE = prepared(
    text("""
    INSERT INTO limit_samples AS s (at, calls, in_flight)
    VALUES (date_trunc('minute', now()), :calls, :in_flight)
        ON CONFLICT (at) DO UPDATE SET calls = excluded.calls,
           in_flight = greatest(s.in_flight, excluded.in_flight)
     WHERE s.calls <> excluded.calls OR s.in_flight < excluded.in_flight
""")
)
