"""When an endpoint is tried less, when it is disabled by itself, and who is told.

An endpoint that never answers well would cost tries for ever, and its project would not know. But ten bad
seconds in a busy hour must not disable it: only time does, and less time where many deliveries failed.
Until then it takes no more of a worker than it must: where `IN_A_ROW` deliveries have failed and none has
succeeded in between, the next try is the only one, a second later.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from sqlalchemy import exists, func, select, update

from models import ids
from models.platform.db import Transaction
from models.platform.jsonable import time
from models.schema import Delivery, DeliveryTry, Endpoint
from models.settings import Settings
from models.webhooks import endpoints, notices

# A try is dated when it begins, by its worker's clock; the failing, when it is recorded, by the database's.
_CLOCKS_APART = timedelta(minutes=15)
IN_A_ROW = (
    10  # one bad answer in five, as from one replica of several, comes to ten in a row once in 10^7
)
_REST = timedelta(seconds=1)
REST = f"interval '{_REST.total_seconds():g} s'"  # the same, for SQL
CLOCKS_APART = f"interval '{_CLOCKS_APART.total_seconds():g} s'"  # the same, for SQL


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint may fail: `failing`, or `busy` over at least so many `deliveries`."""

    failing: timedelta
    busy: timedelta
    deliveries: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return it as the settings say."""
        return cls(
            settings.webhook_failing,
            settings.webhook_failing_busy,
            settings.webhook_failing_deliveries,
        )


async def impatience(
    tx: Transaction, endpoint: Endpoint, failed: Delivery, patience: Patience, met: str
) -> str | None:
    """Count a failed try of an endpoint whose row is taken; returns the reason to disable it, or None.

    The clock begins with the first try that fails after a success; each delivery counts once.
    """
    now = await _now(tx)
    since, count = endpoint.failing_since or now, endpoint.failing_deliveries
    if endpoint.failing_since is None or not await _failed_since(tx, failed, since):
        count += 1
        await tx.execute(
            update(Endpoint)
            .where(Endpoint.id == endpoint.id)
            .values(failing_since=since, failing_deliveries=count)
        )
    lasted = now - since
    if lasted >= patience.failing or (lasted >= patience.busy and count >= patience.deliveries):
        number = "1 delivery" if count == 1 else f"{count} deliveries"
        return f"no success since {time(since)}, over {number}; the last try met: {met}"
    return None


def rest(endpoint: Endpoint, asked: timedelta | None) -> timedelta | None:
    """Return for how long an endpoint is left alone after a failed try that has `asked` for as much."""
    if endpoint.failing_deliveries + 1 < IN_A_ROW:
        return asked
    return max(asked or timedelta(), _REST)


async def disable(tx: Transaction, endpoint_id: UUID, reason: str) -> None:
    """Disable an endpoint, and tell the project's others that list `webhook.disabled`, once."""
    disabled = await endpoints.disable(tx, endpoint_id, reason)
    if disabled is None:
        return
    data: dict[str, object] = {
        "endpoint_id": ids.text(ids.ENDPOINT, disabled.id),
        "url": disabled.url,
        "reason": reason,
        "disabled_at": time(disabled.disabled_at),
        "failing_since": time(disabled.failing_since),
    }
    await notices.tell(tx, disabled.project_id, "webhook.disabled", data, but=disabled.id)


async def _now(tx: Transaction) -> datetime:
    """Read the database's clock: workers' clocks may differ by more than a lease."""
    return (await tx.scalars(select(func.now()))).one()


async def _failed_since(tx: Transaction, failed: Delivery, since: datetime) -> bool:
    """Return whether an earlier try of this delivery was counted already."""
    earlier = select(
        exists().where(
            DeliveryTry.delivery_id == failed.id,
            DeliveryTry.number < failed.tries,
            DeliveryTry.at >= since - _CLOCKS_APART,
        )
    )
    return bool(await tx.scalar(earlier))
