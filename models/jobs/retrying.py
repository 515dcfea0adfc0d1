"""(terminal) → (new): the same input once more, for an image of its own."""

from hashlib import sha256
from uuid import UUID

from sqlalchemy import select

from models.db import Transaction
from models.errors import Erased, NotFinished, NotFound
from models.jobs.submitting import Submission, submit
from models.projects import Caller
from models.schema import Job
from models.states import TERMINAL, OnUnknown, Priority
from models.views import Lens


async def retry(
    tx: Transaction,
    lens: Lens,
    caller: Caller,
    job_id: UUID,
    *,
    idempotency_key: str | None,
    full: bool = False,
) -> tuple[Job, bool]:
    """Accept a new job with the input of a finished one; it makes an image of its own.

    Raises `NotFound`, `NotFinished`, `Erased`, and what `submit` does.
    """
    job = await _retriable(tx, caller, job_id)
    again = Submission(
        model=job.model,
        input=job.input,
        input_hash=job.input_hash,
        estimate=job.estimate,
        large=job.large,
        priority=_priority(job.priority),
        tags=tuple(job.tags),
        metadata=job.meta,
        customer=job.customer,
        concurrency_key=job.concurrency_key,
        webhook_url=job.webhook_url,
        webhook_events=None if job.webhook_events is None else tuple(job.webhook_events),
        queue_ttl=job.queue_expires_at - job.created_at,
        max_attempts=job.max_attempts,
        max_cost=job.max_cost,
        on_unknown_charge=_on_unknown(job.on_unknown_charge),
        retried_from=job.id,
    )
    print_ = sha256(job.id.bytes).digest()
    idempotency = None if idempotency_key is None else ("retry", idempotency_key, print_)
    return await submit(tx, lens, caller, again, idempotency=idempotency, full=full)


async def _retriable(tx: Transaction, caller: Caller, job_id: UUID) -> Job:
    """Find a finished job, and keep it from being erased until the new one has its input."""
    job = await tx.scalar(
        select(Job)
        .where(Job.id == job_id, Job.project_id == caller.project_id)
        .with_for_update(read=True)
    )
    if job is None:
        raise NotFound("There is no such job in this project.")
    if job.status not in TERMINAL:
        raise NotFinished(
            f"The job is {job.status}; only a finished job can be retried. Cancel it, or wait."
        )
    if job.erased_at is not None:
        raise Erased("The job was erased, and its input with it; submit it anew.")
    return job


def _priority(word: str) -> Priority:
    words: tuple[Priority, ...] = ("interactive", "standard", "bulk")
    return next(each for each in words if each == word)


def _on_unknown(word: str) -> OnUnknown:
    words: tuple[OnUnknown, ...] = ("retry", "wait", "fail")
    return next(each for each in words if each == word)
