"""Events: something that happened to a job, written in the transaction of what it tells."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, insert

from models import ids, lanes
from models.db import Transaction
from models.schema import Delivery, Endpoint, Event, Job
from models.states import TERMINAL_EVENTS, EventType


def wanted_by_job(job: Job, type_: EventType) -> bool:
    """Tell whether the job's own URL wants this event."""
    return job.webhook_url is not None and type_ in (job.webhook_events or TERMINAL_EVENTS)


async def announce(
    tx: Transaction, job: Job, type_: EventType, body: bytes, targets: Sequence[Endpoint]
) -> None:
    """Write an event of a job and its deliveries; they arise with what they tell, or not at all."""
    event_id = await _write(tx, job.project_id, type_, body, job=job)
    rows = [_row(each, event_id, job.id) for each in targets]
    if wanted_by_job(job, type_) and job.webhook_url is not None:
        rows.append(
            {
                "id": ids.new(),
                "project_id": job.project_id,
                "event_id": event_id,
                "job_id": job.id,
                "endpoint_id": None,
                "url": job.webhook_url,
                "lane": lanes.of_origin(job.project_id, job.webhook_url),
                "state": "pending",
                "next_at": func.now(),
            }
        )
    await _deliver(tx, rows)


async def announce_to_project(
    tx: Transaction, project_id: UUID, type_: EventType, body: bytes, targets: Sequence[Endpoint]
) -> None:
    """Write an event that is not about a job, and its deliveries to a project's endpoints."""
    event_id = await _write(tx, project_id, type_, body, job=None)
    await _deliver(tx, [_row(each, event_id, None) for each in targets])


async def announce_ping(tx: Transaction, endpoint: Endpoint, body: bytes) -> UUID:
    """Write a ping and its one delivery, also to an endpoint that is disabled; gives the delivery's id."""
    event_id = await _write(tx, endpoint.project_id, "ping", body, job=None)
    row = _row(endpoint, event_id, None)
    delivery_id = ids.new()
    alone = {"id": delivery_id, "lane": lanes.of_ping(delivery_id)}
    await _deliver(tx, [row | alone | {"state": "pending", "next_at": func.now()}])
    return delivery_id


async def _write(
    tx: Transaction, project_id: UUID, type_: EventType, body: bytes, *, job: Job | None
) -> UUID:
    event_id = ids.new()
    await tx.execute(
        insert(Event).values(
            id=event_id,
            project_id=project_id,
            job_id=None if job is None else job.id,
            type=type_,
            sequence=0 if job is None else job.version,
            body=body,
        )
    )
    return event_id


def _row(endpoint: Endpoint, event_id: UUID, job_id: UUID | None) -> dict[str, object]:
    """Address an event to an endpoint; what goes to a disabled one is held, for replay."""
    return {
        "id": ids.new(),
        "project_id": endpoint.project_id,
        "event_id": event_id,
        "job_id": job_id,
        "endpoint_id": endpoint.id,
        "url": endpoint.url,
        "lane": lanes.of_endpoint(endpoint.id),
        "state": "pending" if endpoint.enabled else "held",
        "next_at": func.now() if endpoint.enabled else None,
    }


async def _deliver(tx: Transaction, rows: list[dict[str, object]]) -> None:
    if rows:
        await tx.execute(insert(Delivery).values(rows))
        tx.ring("deliveries")
