"""Erasing a finished job: its input and its images are deleted; ids, charges and times stay."""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, null, select, update

from models import ids
from models.audit_log import recording
from models.coordination import aside
from models.errors import NotFinished, NotFound
from models.images import collector
from models.jobs import attempts
from models.jobs.attempts import evidence
from models.jobs.changes.moving import change
from models.money import ledger
from models.platform.db import Transaction
from models.schema import Attempt, Batch, Call, Delivery, Event, Image, InputImage, Job
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
    if job.erased_at is None:
        await _empty(tx, job)


async def forget(tx: Transaction, job: Job, *, nameless: bool) -> Counter[str]:
    """Erase a finished job (its row is locked) wholly; returns how many rows of what lost something.

    Beside what `erase` takes that is what would know a repetition of its request; and with `nameless` its
    customer, on the lines of the ledger too.
    """
    counts = Counter[str]()
    if job.erased_at is None:
        counts = await _empty(tx, job)
    calls = delete(Call).where(Call.job_id == job.id).returning(Call.job_id)
    counts["calls"] = len((await tx.scalars(calls)).all())
    counts["idempotency_keys"] = 0 if job.idempotency_key is None else 1
    await aside.forget_subject(tx, job.id)
    gone: dict[str, object] = {
        "idempotency_route": null(),
        "idempotency_key": null(),
        "fingerprint": null(),
    }
    if job.custom_id is not None:
        gone["custom_id"] = f"erased-{job.id.hex}"  # a row of a batch has a name of its own
    if nameless:
        gone["customer"] = null()
        await _rewrite(tx, job, bodies.nameless)
        counts["ledger_lines"] = await ledger.forget_customer_of(tx, job)
    await tx.execute(change(job.id, **gone))
    return counts


async def _empty(tx: Transaction, job: Job) -> Counter[str]:
    await collector.mark(tx, await collector.of(tx, [job.id]))
    references = delete(InputImage).where(InputImage.job_id == job.id)
    images = delete(Image).where(Image.job_id == job.id)
    counts = Counter(
        references=len((await tx.scalars(references.returning(InputImage.sha256))).all()),
        images=len((await tx.scalars(images.returning(Image.sha256))).all()),
        attempts=await _empty_attempts(tx, job),
        deliveries=await let_go(tx, Delivery.job_id == job.id),
        events=await _rewrite(tx, job, bodies.emptied),
    )
    if job.batch_id is not None and job.error:
        await _unquote(tx, job)
    await _empty_job(tx, job)
    await recording.record(tx, "job.erased", ids.text(ids.JOB, job.id), project_id=job.project_id)
    tx.ring("job", str(job.id))
    return counts


async def _empty_attempts(tx: Transaction, job: Job) -> int:
    mine = Attempt.job_id == job.id
    await evidence.erase(tx, job.id)
    emptied = update(Attempt).where(mine).values(provider_url=None).returning(Attempt.id)
    count = len((await tx.scalars(emptied)).all())
    error = func.jsonb_build_object("code", Attempt.error["code"], "message", attempts.ERASED)
    told = func.jsonb_typeof(Attempt.error) == "object"
    await tx.execute(update(Attempt).where(mine, told).values(error=error))
    return count


async def _rewrite(tx: Transaction, job: Job, cut: Callable[[bytes, str], bytes]) -> int:
    """Cut what was told, or is still to be told, of a job or its group: to ids and states, or by a name.

    What is under way to the project's endpoints still arrives, and says that it was erased.
    """
    mine = Event.job_id == job.id
    if job.batch_id is not None and job.custom_id is None:
        mine |= Event.batch_id == job.batch_id
    found = list(await tx.scalars(select(Event).where(mine)))
    for event in found:
        body = cut(event.body, ids.text(ids.JOB, job.id))
        await tx.execute(update(Event).where(Event.id == event.id).values(body=body))
    return len(found)


async def _unquote(tx: Transaction, job: Job) -> None:
    """Let a batch quote its row no more as the example of why rows fail, nor what was told of it."""
    code = str((job.error or {}).get("code"))
    mine = select(Batch).where(Batch.id == job.batch_id, Batch.errors.has_key(code))
    batch = await tx.scalar(mine.with_for_update(key_share=True))
    told = None if batch is None else batch.errors[code]
    named = ids.text(ids.JOB, job.id)
    if batch is None or not isinstance(told, dict) or told.get("job", named) != named:
        return
    errors = {**batch.errors, code: {**told, "message": attempts.ERASED}}
    await tx.execute(update(Batch).where(Batch.id == batch.id).values(errors=errors))
    for event in list(await tx.scalars(select(Event).where(Event.batch_id == batch.id))):
        body = bodies.unquoted(event.body, code, attempts.ERASED)
        await tx.execute(update(Event).where(Event.id == event.id).values(body=body))


async def let_go(tx: Transaction, whose: ColumnElement[bool]) -> int:
    """Cut the URLs that are no endpoint's to their origin, and abort what is bound for them.

    `whose` says which deliveries. Who erases waits for none of them; returns how many there are.
    """
    own = whose & Delivery.endpoint_id.is_(None)
    await tx.execute(
        update(Delivery)
        .where(own, Delivery.state.in_(("pending", "sending", "held")))
        .values(
            state="aborted", next_at=None, lease_until=None, taken_at=None, finished_at=func.now()
        )
    )
    cut = update(Delivery).where(own).values(url=func.substring(Delivery.url, _ORIGIN))
    return len((await tx.scalars(cut.returning(Delivery.id))).all())


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
