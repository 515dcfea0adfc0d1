"""Telling of a batch: at each tenth, when it is paused, and at its end; of a group at its end alone."""

from datetime import UTC, datetime
from typing import Literal

from models.jobs.batches.reading import standings
from models.jobs.batches.view import show
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.schema import Batch
from models.states import EventType
from models.webhooks import bodies, endpoints, events

_USUAL = ("batch.paused", "batch.completed")

Told = Literal["batch.progress", "batch.paused", "batch.completed"]


async def tell(tx: Transaction, presenter: Presenter, batch: Batch, type_: Told) -> None:
    """Write an event of a batch, and its deliveries: to endpoints that list it, and to its own URL."""
    now = datetime.now(UTC)
    standing = (await standings(tx, [batch]))[0]
    shown = show(presenter, standing)
    if batch.kind == "batch":
        wanted = type_ in (batch.webhook_events or _USUAL)
        await _write(tx, batch, type_, bodies.of(type_, shown, now), wanted=wanted)
    elif type_ == "batch.completed":
        body = bodies.of_group("group.completed", shown, now)
        await _write(tx, batch, "group.completed", body, wanted=True)


async def _write(
    tx: Transaction, batch: Batch, type_: EventType, body: bytes, *, wanted: bool
) -> None:
    targets = await endpoints.wanting(tx, batch.project_id, type_)
    url = batch.webhook_url if wanted else None
    await events.announce_to_project(
        tx, batch.project_id, type_, body, targets, url=url, batch_id=batch.id
    )
