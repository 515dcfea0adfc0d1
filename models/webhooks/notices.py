"""Notices: events that are not about one job, told to the endpoints of a project that list them."""

from datetime import UTC, datetime
from uuid import UUID

from models.platform.db import Transaction
from models.platform.jsonable import Json
from models.states import EventType
from models.webhooks import bodies, endpoints, events


async def tell(
    tx: Transaction, project_id: UUID, type_: EventType, data: Json, *, but: UUID | None = None
) -> None:
    """Write a notice and its deliveries, in the transaction of what it tells; `but` one endpoint's."""
    body = bodies.of(type_, data, datetime.now(UTC))
    targets = await endpoints.wanting(tx, project_id, type_, but=but)
    await events.announce_to_project(tx, project_id, type_, body, targets)
