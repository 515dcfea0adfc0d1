"""(terminal) → (new): a new job with the input of a finished one, as it was or as the caller changes it."""

from hashlib import sha256
from uuid import UUID

from sqlalchemy import select

from models.accounts.callers import Caller
from models.errors import Conflict, Erased, NotFinished, NotFound
from models.jobs.submission.candidates import Idempotency, Submission
from models.jobs.submission.naming import earlier
from models.jobs.submission.submitting import submit
from models.jobs.view import Presenter
from models.money import prices
from models.platform.db import Transaction
from models.schema import Job
from models.states import TERMINAL, OnUnknown, Priority


async def retry(
    tx: Transaction,
    presenter: Presenter,
    caller: Caller,
    job_id: UUID,
    *,
    asked: Submission | None = None,
    idempotency: Idempotency | None = None,
    full: bool = False,
) -> tuple[Job, bool]:
    """Accept a new job for a finished one: as `asked`, or as that one was.

    A request that came before returns its job, whatever became of the old one since. Raises what `again`
    and `submit` do, and `Conflict` where the old `max_cost` pays for no call any more.
    """
    found = await earlier(tx, caller, idempotency)
    if found is not None:
        return found, True
    old = await again(tx, caller, job_id)
    asked = asked or old
    if asked.max_cost is not None and asked.max_cost < asked.estimate:
        raise Conflict(
            f"One call costs {asked.estimate:,} credits now, and the job's max_cost is "
            f"{asked.max_cost:,}; send a higher `max_cost` with the retry."
        )
    return await submit(tx, presenter, caller, asked, idempotency=idempotency, full=full)


async def again(tx: Transaction, caller: Caller, job_id: UUID) -> Submission:
    """Return what a finished job asked for, at what a call costs now.

    Its deadline and its reuse are not repeated: the one has passed, and the other would give the image
    that is there. It is kept from being erased until the transaction ends. Raises `NotFound`,
    `NotFinished`, `Erased`.
    """
    job = await _retriable(tx, caller, job_id)
    return Submission(
        model=job.model,
        input=job.input,
        input_hash=job.input_hash,
        estimate=(await prices.known(tx, job.model)).of(job.input) or job.estimate,
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


def retry_name(job_id: UUID, key: str | None, changes: bytes = b"") -> Idempotency | None:
    """Return the name of a retry: its route, the caller's key, a fingerprint of the job and its changes."""
    return None if key is None else ("retry", key, sha256(job_id.bytes + changes).digest())


async def _retriable(tx: Transaction, caller: Caller, job_id: UUID) -> Job:
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
