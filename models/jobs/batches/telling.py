"""Telling of a batch: at each tenth, when it is paused, and at its end."""

from collections.abc import Sequence
from datetime import UTC, datetime

from models.jobs.batches.reading import standings
from models.jobs.batches.view import show
from models.platform.db import Transaction
from models.schema import Batch
from models.states import EventType
from models.webhooks import bodies, endpoints, events

_USUAL: Sequence[EventType] = ("batch.paused", "batch.completed")


async def tell(tx: Transaction, batch: Batch, type_: EventType) -> None:
    """Write an event of a batch, and its deliveries: to endpoints that list it, and to its own URL."""
    standing = (await standings(tx, [batch]))[0]
    body = bodies.of(type_, show(standing), datetime.now(UTC))
    targets = await endpoints.wanting(tx, batch.project_id, type_)
    wanted = type_ in (batch.webhook_events or _USUAL)
    url = batch.webhook_url if wanted else None
    await events.announce_to_project(
        tx, batch.project_id, type_, body, targets, url=url, batch_id=batch.id
    )
