"""(new) → queued: a job and its hold, in one transaction; a hundred requests with one key, one job."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from models import ids, ledger
from models.db import Transaction
from models.errors import KeyReuse, NotFinished, NotFound, Unavailable
from models.jobs import following
from models.jobs.following import Place
from models.projects import Caller
from models.schema import Job
from models.states import TERMINAL, OnUnknown, Priority, Reuse
from models.views import Lens

# Ageing for free: a bulk job is overtaken by interactive ones for an hour, and then no longer.
_HANDICAP: dict[Priority, timedelta] = {
    "interactive": timedelta(0),
    "standard": timedelta(minutes=5),
    "bulk": timedelta(minutes=60),
}

_TURNS = 5  # looks for a place: each leader that arises meanwhile costs one

Idempotency = tuple[str, str, bytes]  # a request's name: its route, the caller's key, a fingerprint


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request for one image; `input` is as it is stored and shown."""

    model: str
    input: dict[str, object]
    input_hash: bytes
    estimate: int
    large: bool = False
    priority: Priority = "standard"
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    customer: str | None = None
    concurrency_key: str | None = None
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] | None = None
    queue_ttl: timedelta = timedelta(days=1)
    deadline: datetime | None = None
    max_attempts: int = 5
    max_cost: int | None = None
    on_unknown_charge: OnUnknown = "retry"
    reuse: Reuse = "never"
    retried_from: UUID | None = None


async def submit(
    tx: Transaction,
    lens: Lens,
    caller: Caller,
    submission: Submission,
    *,
    idempotency: Idempotency | None = None,
) -> tuple[Job, bool]:
    """Accept a job and hold its price; gives it, and whether it was there already.

    Raises `KeyReuse` when the key came before with another body, and `BudgetExceeded`.
    """
    for _ in range(_TURNS):
        place = following.QUEUE
        if submission.reuse == "exact":
            place = await following.place(tx, caller.project_id, submission.input_hash)
        made = await _insert(tx, caller, submission, idempotency, place)
        if made is not None:
            await _admit(tx, lens, made, place)
            return made, False
        found = await earlier(tx, caller, idempotency)
        if found is not None:
            return found, True
        # The insert met a leader that had just arisen: look again, and follow it.
    raise Unavailable("Too many identical jobs came and went at once; try again in a moment.")


async def retry(
    tx: Transaction, lens: Lens, caller: Caller, job_id: UUID, *, idempotency_key: str | None
) -> tuple[Job, bool]:
    """Accept a new job with the input of a finished one; it makes an image of its own.

    Raises `NotFound`, `NotFinished`, and what `submit` does.
    """
    job = await tx.scalar(select(Job).where(Job.id == job_id, Job.project_id == caller.project_id))
    if job is None:
        raise NotFound("There is no such job in this project.")
    if job.status not in TERMINAL:
        raise NotFinished(
            f"The job is {job.status}; only a finished job can be retried. Cancel it, or wait."
        )
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
    return await submit(tx, lens, caller, again, idempotency=idempotency)


async def _insert(
    tx: Transaction,
    caller: Caller,
    submission: Submission,
    idempotency: Idempotency | None,
    place: Place,
) -> Job | None:
    route, key, fingerprint = idempotency or (None, None, None)
    made = await tx.scalars(
        insert(Job)
        .values(
            id=ids.new(),
            project_id=caller.project_id,
            key_id=caller.key_id,
            rank=func.now() + _HANDICAP[submission.priority],
            queue_expires_at=func.now() + submission.queue_ttl,
            held=submission.estimate if place.image is None else 0,
            idempotency_route=route,
            idempotency_key=key,
            fingerprint=fingerprint,
            **place.columns,
            **_columns(submission),
        )
        .on_conflict_do_nothing()
        .returning(Job)
    )
    return made.one_or_none()


async def _admit(tx: Transaction, lens: Lens, job: Job, place: Place) -> None:
    """Hold a new job's price, or give it the image that is there already."""
    if place.image is not None:
        await following.reuse(tx, lens, job, place.image)
        return
    await ledger.write(tx, job, ledger.hold(1, job.estimate))
    tx.ring("jobs")


async def earlier(tx: Transaction, caller: Caller, idempotency: Idempotency | None) -> Job | None:
    """Give the job that a request of this name made; raises `KeyReuse` when its body was another."""
    if idempotency is None:
        return None
    route, key, fingerprint = idempotency
    job = await tx.scalar(
        select(Job).where(
            Job.project_id == caller.project_id,
            Job.idempotency_route == route,
            Job.idempotency_key == key,
        )
    )
    if job is not None and job.fingerprint != fingerprint:
        raise KeyReuse(
            f"The Idempotency-Key {key!r} came before with another body, and made "
            f"{ids.text(ids.JOB, job.id)}. Use a new key for a new request."
        )
    return job


def fingerprint(body: object) -> bytes:
    """Hash a request's body so that the same JSON, in whatever order, has the same hash."""
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).digest()


def _columns(submission: Submission) -> dict[str, object]:
    return {
        "model": submission.model,
        "input": submission.input,
        "input_hash": submission.input_hash,
        "estimate": submission.estimate,
        "large": submission.large,
        "priority": submission.priority,
        "tags": list(submission.tags),
        "meta": submission.metadata or {},
        "customer": submission.customer,
        "concurrency_key": submission.concurrency_key,
        "webhook_url": submission.webhook_url,
        "webhook_events": None
        if submission.webhook_events is None
        else list(submission.webhook_events),
        "deadline": submission.deadline,
        "max_attempts": submission.max_attempts,
        "max_cost": 2 * submission.estimate if submission.max_cost is None else submission.max_cost,
        "on_unknown_charge": submission.on_unknown_charge,
        "reuse": submission.reuse,
        "retried_from": submission.retried_from,
    }


def _priority(word: str) -> Priority:
    return next(each for each in _HANDICAP if each == word)


def _on_unknown(word: str) -> OnUnknown:
    words: tuple[OnUnknown, ...] = ("retry", "wait", "fail")
    return next(each for each in words if each == word)
