"""Events: what happened to a job, written in the transaction in which it happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text, update

from models import ids
from models.platform.db import Transaction
from models.schema import Endpoint, Event, Job
from models.states import TERMINAL_EVENTS, EventType
from models.webhooks import destinations


def wanted_by_job(job: Job, type_: EventType) -> bool:
    """Return whether the job's own URL wants this event."""
    return job.webhook_url is not None and type_ in (job.webhook_events or TERMINAL_EVENTS)


@dataclass(frozen=True, slots=True)
class Line:
    """One delivery that is to be: whom an event is told. What goes to a disabled endpoint is held."""

    delivery_id: UUID
    endpoint_id: UUID | None
    url: str
    destination: str
    enabled: bool = True


# All deliveries of an event in one statement: each array is one parameter, however many endpoints.
DELIVERIES = """
    INSERT INTO deliveries (id, project_id, event_id, job_id, endpoint_id, url, lane, state, next_at)
    SELECT line.id, :project, :event, :job, line.endpoint, line.url, line.lane,
           CASE WHEN line.enabled THEN 'pending' ELSE 'held' END, CASE WHEN line.enabled THEN now() END
      FROM unnest(CAST(:ids AS uuid[]), CAST(:endpoints AS uuid[]), CAST(:urls AS text[]),
                  CAST(:lanes AS text[]), CAST(:enabled AS boolean[]))
           AS line (id, endpoint, url, lane, enabled)
"""


# One event; beside its deliveries it may be one statement with them.
EVENT = """
    INSERT INTO events (id, project_id, job_id, type, sequence, body)
    VALUES (:event, :project, :job, :type, :sequence, :body)
"""


def listed(lines: Sequence[Line]) -> dict[str, object]:
    """Return these lines as the arrays of `DELIVERIES`."""
    return {
        "ids": [each.delivery_id for each in lines],
        "endpoints": [each.endpoint_id for each in lines],
        "urls": [each.url for each in lines],
        "lanes": [each.destination for each in lines],
        "enabled": [each.enabled for each in lines],
    }


def addressed(job: Job, type_: EventType, targets: Sequence[Endpoint]) -> list[Line]:
    """Return whom an event of a job is told: these endpoints, and its own URL if that wants it."""
    lines = [_line(each) for each in targets]
    if wanted_by_job(job, type_) and job.webhook_url is not None:
        destination = destinations.of_origin(job.project_id, job.webhook_url)
        lines.append(Line(ids.new(), None, job.webhook_url, destination))
    return lines


async def announce(
    tx: Transaction, job: Job, type_: EventType, body: bytes, targets: Sequence[Endpoint]
) -> None:
    """Write an event of a job and its deliveries; they arise with what they tell, or not at all."""
    event_id = await _write(tx, job.project_id, type_, body, job=job)
    await _deliver(tx, addressed(job, type_, targets), job.project_id, event_id, job.id)


async def announce_to_project(
    tx: Transaction,
    project_id: UUID,
    type_: EventType,
    body: bytes,
    targets: Sequence[Endpoint],
    *,
    url: str | None = None,
    batch_id: UUID | None = None,
) -> None:
    """Write an event that is not about a job, and its deliveries to a project's endpoints, and to a URL.

    One about a batch has its id.
    """
    event_id = await _write(tx, project_id, type_, body, job=None)
    if batch_id is not None:
        await tx.execute(update(Event).where(Event.id == event_id).values(batch_id=batch_id))
    lines = [_line(each) for each in targets]
    if url is not None:
        lines.append(Line(ids.new(), None, url, destinations.of_origin(project_id, url)))
    await _deliver(tx, lines, project_id, event_id)


async def announce_ping(tx: Transaction, endpoint: Endpoint, body: bytes) -> UUID:
    """Write a ping and its one delivery, also to a disabled endpoint; returns the delivery's id."""
    event_id = await _write(tx, endpoint.project_id, "ping", body, job=None)
    delivery_id = ids.new()
    line = Line(delivery_id, endpoint.id, endpoint.url, destinations.of_ping(endpoint.project_id))
    await _deliver(tx, [line], endpoint.project_id, event_id)
    return delivery_id


async def _write(
    tx: Transaction, project_id: UUID, type_: EventType, body: bytes, *, job: Job | None
) -> UUID:
    event_id = ids.new()
    told = {
        "event": event_id,
        "project": project_id,
        "job": None if job is None else job.id,
        "type": type_,
        "sequence": 0 if job is None else job.version,
        "body": body,
    }
    await tx.execute(_EVENT, told)
    return event_id


def _line(endpoint: Endpoint) -> Line:
    destination = destinations.of_endpoint(endpoint.id)
    return Line(ids.new(), endpoint.id, endpoint.url, destination, endpoint.enabled)


async def _deliver(
    tx: Transaction,
    lines: Sequence[Line],
    project_id: UUID,
    event_id: UUID,
    job_id: UUID | None = None,
) -> None:
    if lines:
        about = {"project": project_id, "event": event_id, "job": job_id}
        await tx.execute(_DELIVER, {**about, **listed(lines)})
        tx.ring("deliveries")


_IDS = [bindparam(name, type_=Uuid()) for name in ("project", "event", "job")]
_DELIVER, _EVENT = (text(each).bindparams(*_IDS) for each in (DELIVERIES, EVENT))
