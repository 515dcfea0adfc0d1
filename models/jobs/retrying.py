"""(terminal) → (new): the same input once more, for an image of its own."""

from hashlib import sha256
from uuid import UUID

from sqlalchemy import select

from models import prices
from models.db import Transaction
from models.errors import Conflict, Erased, NotFinished, NotFound
from models.jobs.submitting import Idempotency, Submission, earlier, submit
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

    A request that came before gives its job, whatever became of the old one since. Raises `NotFound`,
    `NotFinished`, `Erased`, `Conflict` where the old `max_cost` pays for no call any more, and what
    `submit` does.
    """
    name = _name(job_id, idempotency_key)
    found = await earlier(tx, caller, name)
    if found is not None:
        return found, True
    job = await _retriable(tx, caller, job_id)
    price = await _price(tx, job)
    again = Submission(
        model=job.model,
        input=job.input,
        input_hash=job.input_hash,
        estimate=price,
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
    return await submit(tx, lens, caller, again, idempotency=name, full=full)


def _name(job_id: UUID, key: str | None) -> Idempotency | None:
    return None if key is None else ("retry", key, sha256(job_id.bytes).digest())


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


async def _price(tx: Transaction, job: Job) -> int:
    """Give what one call costs at present, if the old job's `max_cost` pays for it."""
    price = (await prices.present(tx)).get(job.model, job.estimate)
    if job.max_cost < price:
        raise Conflict(
            f"One call costs {price:,} credits now, and the job's max_cost is {job.max_cost:,}; "
            "submit it anew with a higher one."
        )
    return price


def _priority(word: str) -> Priority:
    words: tuple[Priority, ...] = ("interactive", "standard", "bulk")
    return next(each for each in words if each == word)


def _on_unknown(word: str) -> OnUnknown:
    words: tuple[OnUnknown, ...] = ("retry", "wait", "fail")
    return next(each for each in words if each == word)
