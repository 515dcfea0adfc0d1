"""An endpoint's health: disabled, by its project or after failing for long, and well after a success."""

from uuid import UUID

from sqlalchemy import func, update

from models.platform.db import Transaction
from models.schema import Delivery, Endpoint
from models.webhooks import destinations
from models.webhooks.endpoints.auditing import log

BY_ITS_PROJECT = "disabled by its project"
WELL = {"failing_since": None, "failing_deliveries": 0}


async def disable(tx: Transaction, endpoint_id: UUID, reason: str) -> Endpoint | None:
    """Disable an endpoint; what is pending for it is held, for replay. None: it was disabled already."""
    disabled = (
        await tx.scalars(
            update(Endpoint)
            .where(Endpoint.id == endpoint_id, Endpoint.enabled)
            .values(enabled=False, disabled_reason=reason, disabled_at=func.now())
            .returning(Endpoint),
        )
    ).one_or_none()
    if disabled is not None and reason != BY_ITS_PROJECT:
        await log(tx, "webhook.disabled", disabled, after={"reason": reason})
    await tx.execute(
        update(Delivery)
        .where(
            Delivery.destination == destinations.of_endpoint(endpoint_id),
            Delivery.state == "pending",
        )
        .values(state="held", next_at=None)
    )
    return disabled


async def recover(tx: Transaction, endpoint_id: UUID) -> None:
    """Write that a try succeeded; a healthy endpoint costs no write."""
    await tx.execute(
        update(Endpoint)
        .where(Endpoint.id == endpoint_id, Endpoint.failing_since.is_not(None))
        .values(WELL)
    )
