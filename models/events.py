"""Events: something that happened to a job, written in the transaction of what it tells."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy import func, insert

from models import ids
from models.db import Transaction
from models.schema import Delivery, Endpoint, Event, Job
from models.states import TERMINAL_EVENTS, EventType


def wanted_by_job(job: Job, type_: EventType) -> bool:
    """Tell whether the job's own URL wants this event."""
    return job.webhook_url is not None and type_ in (job.webhook_events or TERMINAL_EVENTS)


async def announce(
    tx: Transaction, job: Job, type_: EventType, body: bytes, targets: Sequence[Endpoint]
) -> None:
    """Write an event and its deliveries; both arise with what they tell, or not at all."""
    event_id = ids.new()
    await tx.execute(
        insert(Event).values(
            id=event_id,
            project_id=job.project_id,
            job_id=job.id,
            type=type_,
            sequence=job.version,
            body=body,
        )
    )
    common = {"project_id": job.project_id, "event_id": event_id, "job_id": job.id}
    rows = [
        {
            **common,
            "id": ids.new(),
            "endpoint_id": each.id,
            "url": each.url,
            "lane": str(each.id),
            "state": "pending" if each.enabled else "held",
            "next_at": func.now() if each.enabled else None,
        }
        for each in targets
    ]
    if wanted_by_job(job, type_) and job.webhook_url is not None:
        rows.append(
            {
                **common,
                "id": ids.new(),
                "endpoint_id": None,
                "url": job.webhook_url,
                "lane": f"{job.project_id}:{urlsplit(job.webhook_url).netloc}",
                "state": "pending",
                "next_at": func.now(),
            }
        )
    if rows:
        await tx.execute(insert(Delivery).values(rows))
        tx.ring("deliveries")
