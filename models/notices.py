"""Notices: events that are not about one job, told to the endpoints of a project that list them."""

import json
from datetime import UTC, datetime
from uuid import UUID

from models import endpoints, events, views
from models.db import Transaction
from models.states import EventType
from models.views import Json


async def tell(tx: Transaction, project_id: UUID, type_: EventType, data: Json) -> None:
    """Write a notice and its deliveries, in the transaction of what it tells."""
    notice = {"type": type_, "timestamp": views.time(datetime.now(UTC)), "data": data}
    body = json.dumps(notice, ensure_ascii=False, separators=(",", ":")).encode()
    targets = await endpoints.wanting(tx, project_id, type_)
    await events.announce_to_project(tx, project_id, type_, body, targets)
