"""Erasing a finished job: its input and its images are deleted; ids, charges and times stay."""

from hashlib import sha256
from uuid import UUID

from sqlalchemy import delete, func, null, select, update

from models import ids
from models.audit_log import recording
from models.errors import NotFinished, NotFound
from models.images import collector
from models.jobs import attempts
from models.jobs.attempts import evidence
from models.jobs.changes.moving import change
from models.platform.db import Transaction
from models.schema import Attempt, Delivery, Event, Image, InputImage, Job
from models.webhooks import bodies

_ORIGIN = "^[a-z]+://[^/?#]*"  # of a URL: a path or a query may say anything


async def erase(tx: Transaction, project_id: UUID, job_id: UUID) -> None:
    """Erase a finished job's content; nothing happens when it was erased before.

    The bytes in the store are deleted a few minutes later, if no other job of the project refers to them.
    `customer` stays, as on the lines of the ledger: it says whose bill this is; so do the Idempotency-Key
    and its fingerprint, or a late repetition would be a new, paid job. Raises `NotFound`, `NotFinished`.
    """
    job = await tx.scalar(
        select(Job)
        .where(Job.id == job_id, Job.project_id == project_id)
        .with_for_update(key_share=True)
    )
    if job is None:
        raise NotFound("There is no such job in this project.")
    if job.finished_at is None:
        raise NotFinished(
            f"The job is {job.status}; only a finished job can be erased. Cancel it, or wait."
        )
    if job.erased_at is not None:
        return
    await collector.mark(tx, await collector.of(tx, [job.id]))
    await tx.execute(delete(InputImage).where(InputImage.job_id == job.id))
    await tx.execute(delete(Image).where(Image.job_id == job.id))
    await _empty_attempts(tx, job)
    await _empty_events(tx, job)
    await _empty_job(tx, job)
    await recording.record(tx, "job.erased", ids.text(ids.JOB, job.id), project_id=job.project_id)
    tx.ring("job", str(job.id))


async def _empty_attempts(tx: Transaction, job: Job) -> None:
    mine = Attempt.job_id == job.id
    await evidence.erase(tx, job.id)
    await tx.execute(update(Attempt).where(mine).values(provider_url=None))
    error = func.jsonb_build_object("code", Attempt.error["code"], "message", attempts.ERASED)
    told = func.jsonb_typeof(Attempt.error) == "object"
    await tx.execute(update(Attempt).where(mine, told).values(error=error))


async def _empty_events(tx: Transaction, job: Job) -> None:
    """Cut what was told, or is still to be told, to ids, states and costs.

    What is under way to the project's endpoints still arrives, and says that it was erased. The job's own
    URL is cut to its origin, so what is bound for it is aborted: who erases a job waits for nothing of it.
    """
    for event in await tx.scalars(select(Event).where(Event.job_id == job.id)):
        body = bodies.emptied(event.body)
        await tx.execute(update(Event).where(Event.id == event.id).values(body=body))
    own = (Delivery.job_id == job.id) & Delivery.endpoint_id.is_(None)
    await tx.execute(
        update(Delivery)
        .where(own, Delivery.state.in_(("pending", "sending", "held")))
        .values(
            state="aborted", next_at=None, lease_until=None, taken_at=None, finished_at=func.now()
        )
    )
    await tx.execute(update(Delivery).where(own).values(url=func.substring(Delivery.url, _ORIGIN)))


async def _empty_job(tx: Transaction, job: Job) -> None:
    error = job.error and {**job.error, "message": attempts.ERASED, "details": None}
    await tx.execute(
        change(
            job.id,
            erased_at=func.now(),
            input={},
            input_hash=sha256(job.id.bytes).digest(),  # no submission has this one
            tags=[],
            meta={},
            concurrency_key=None,
            webhook_url=None,
            webhook_events=None,
            error=error or null(),
        )
    )
