"""Events: what happened to a job, written in the transaction in which it happened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import text

from models import ids
from models.platform.db.statements import Writer, prepared
from models.schema import Endpoint, Job
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


@dataclass(frozen=True, slots=True)
class Event:
    """An event that is to be, of a job or of none, and whom it is told."""

    body: bytes
    lines: Sequence[Line] = ()
    job: Job | None = None
    id: UUID = field(default_factory=ids.new)


def addressed(job: Job, type_: EventType, targets: Sequence[Endpoint]) -> list[Line]:
    """Return whom an event of a job is told: these endpoints, and its own URL if that wants it."""
    lines = [_line(each) for each in targets]
    if wanted_by_job(job, type_) and job.webhook_url is not None:
        destination = destinations.of_origin(job.project_id, job.webhook_url)
        lines.append(Line(ids.new(), None, job.webhook_url, destination))
    return lines


async def announce(
    tx: Writer, job: Job, type_: EventType, body: bytes, targets: Sequence[Endpoint]
) -> None:
    """Write an event of a job and its deliveries; they arise with what they tell, or not at all."""
    await _tell(tx, job.project_id, type_, Event(body, addressed(job, type_, targets), job))


async def announce_to_project(
    tx: Writer,
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
    lines = [_line(each) for each in targets]
    if url is not None:
        lines.append(Line(ids.new(), None, url, destinations.of_origin(project_id, url)))
    event = Event(body, lines)
    await _tell(tx, project_id, type_, event)
    if batch_id is not None:
        await tx.run(_OF_BATCH, {"event": event.id, "batch": batch_id})


async def announce_ping(tx: Writer, endpoint: Endpoint, body: bytes) -> UUID:
    """Write a ping and its one delivery, also to a disabled endpoint; returns the delivery's id."""
    delivery_id, project_id = ids.new(), endpoint.project_id
    line = Line(delivery_id, endpoint.id, endpoint.url, destinations.of_ping(project_id))
    await _tell(tx, project_id, "ping", Event(body, [line]))
    return delivery_id


def _line(endpoint: Endpoint) -> Line:
    destination = destinations.of_endpoint(endpoint.id)
    return Line(ids.new(), endpoint.id, endpoint.url, destination, endpoint.enabled)


async def _tell(tx: Writer, project_id: UUID, type_: EventType, event: Event) -> None:
    """Write an event and its deliveries, and ring for these."""
    await write(tx, project_id, type_, [event])
    if event.lines:
        tx.ring("deliveries")


async def write(tx: Writer, project_id: UUID, type_: EventType, events: Sequence[Event]) -> None:
    """Write events of one type and their deliveries, in one statement; nobody is rung for these."""
    lines = [(event.id, event.job, line) for event in events for line in event.lines]
    told: dict[str, object] = {
        "project": project_id,
        "type": type_,
        "events": [each.id for each in events],
        "jobs": [None if each.job is None else each.job.id for each in events],
        "sequences": [0 if each.job is None else each.job.version for each in events],
        "bodies": [each.body for each in events],
        "ids": [line.delivery_id for _, _, line in lines],
        "of_event": [event_id for event_id, _, _ in lines],
        "of_job": [None if job is None else job.id for _, job, _ in lines],
        "endpoints": [line.endpoint_id for _, _, line in lines],
        "urls": [line.url for _, _, line in lines],
        "lanes": [line.destination for _, _, line in lines],
        "enabled": [line.enabled for _, _, line in lines],
    }
    await tx.run(_WRITE, told)


# Each array is one parameter, however many events and endpoints.
_WRITE = prepared(
    text("""
    WITH event AS (
        INSERT INTO events (id, project_id, job_id, type, sequence, body)
        SELECT e.id, CAST(:project AS uuid), e.job, CAST(:type AS text), e.sequence, e.body
          FROM unnest(CAST(:events AS uuid[]), CAST(:jobs AS uuid[]), CAST(:sequences AS bigint[]),
                      CAST(:bodies AS bytea[])) AS e (id, job, sequence, body)
    )
    INSERT INTO deliveries (id, project_id, event_id, job_id, endpoint_id, url, lane, state, next_at)
    SELECT line.id, :project, line.event, line.job, line.endpoint, line.url, line.lane,
           CASE WHEN line.enabled THEN 'pending' ELSE 'held' END, CASE WHEN line.enabled THEN now() END
      FROM unnest(CAST(:ids AS uuid[]), CAST(:of_event AS uuid[]), CAST(:of_job AS uuid[]),
                  CAST(:endpoints AS uuid[]), CAST(:urls AS text[]), CAST(:lanes AS text[]),
                  CAST(:enabled AS boolean[]))
           AS line (id, event, job, endpoint, url, lane, enabled)
""")
)
_OF_BATCH = prepared(text("UPDATE events SET batch_id = :batch WHERE id = :event"))
