"""running → queued, → failed: what follows an answer that is no image.

Each of these first finishes the attempt, which the worker that made the call may always do, and then moves
the job, which only the holder of the fence may do. A job that has a late image succeeds with it instead,
or goes to fetch it (`ending.conclude`).
"""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select

from models.jobs import attempts
from models.jobs.attempts import Answer, Ref
from models.jobs.changes.announcing import announce
from models.jobs.changes.moving import change, lock, queue
from models.jobs.endings.closing import unknown_hold
from models.jobs.endings.ending import conclude, fail
from models.jobs.running.affording import hold_next, priced, unaffordable, wait_for_room
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.provider import gates
from models.schema import Attempt, Job
from models.states import WaitingReason

_NOT_BOOKED = Answer(
    outcome="unknown",
    charge="unknown",
    error={
        "code": "not_booked",
        "message": "The call was answered, and the answer could not be written down; what it cost is "
        "looked up in the provider's log and ledger.",
    },
)
_APART = timedelta(seconds=30)  # between the calls of a job that alone is refused
_MAX_UNKNOWN = 1  # lost answers after which a job tries again at once; after one more it waits


async def retry_later(
    tx: Transaction, presenter: Presenter, ref: Ref, answer: Answer, delay: timedelta
) -> Job | None:
    """running → queued at `now + delay`, or → failed when tries or money are used up."""
    job = await _finish(tx, presenter, ref, answer)
    return None if job is None else await again(tx, presenter, job, delay, counts=answer.counts)


async def refuse(
    tx: Transaction,
    presenter: Presenter,
    ref: Ref,
    answer: Answer,
    *,
    code: str,
    message: str,
    retryable: bool = False,
    details: object = None,
) -> Job | None:
    """running → failed: the provider refuses this input, and would again; or was paid for no image."""
    job = await _finish(tx, presenter, ref, answer)
    if job is None:
        return None
    return await conclude(tx, presenter, job) or await fail(
        tx, presenter, job, code, message, retryable=retryable, details=details
    )


async def park(
    tx: Transaction,
    presenter: Presenter,
    ref: Ref,
    answer: Answer,
    reason: WaitingReason,
    *,
    for_all: bool = True,
) -> Job | None:
    """running → queued, in its old place, and close the gate to all, or to its project: no job's fault.

    The gate is closed even when the job has moved on: what it says is true for the others too. A job that
    is refused so a second time, though its account says otherwise or nothing, was a probe: it has used up a
    try, or who is alone would be the probe for ever. And when the same key has made an image since the
    first time, it says nothing about the others, who say it themselves.
    """
    message = str((answer.error or {}).get("message", ""))
    job = await _finish(tx, presenter, ref, answer)
    project_id = None if for_all else await _project(tx, ref.job_id)
    before = await _parked_before(tx, ref, reason)
    alone = before is not None and reason == "provider_key" and await _served(tx, before)
    unbacked = reason == "provider_key" or not for_all
    if not alone:
        met_by = ref.job_id if unbacked else None
        await gates.close(tx, reason, message, project_id, met_by=met_by)
    if job is None:
        return None
    counts = before is not None and unbacked
    return await again(tx, presenter, job, _APART if alone else timedelta(0), counts=counts)


async def lose(tx: Transaction, presenter: Presenter, ref: Ref, answer: Answer) -> Job | None:
    """The answer was lost: nobody knows whether it was paid, and `on_unknown_charge` decides."""
    job = await _finish(tx, presenter, ref, answer)
    return None if job is None else await after_unknown(tx, presenter, job)


async def set_aside(tx: Transaction, presenter: Presenter, ref: Ref, answer: Answer) -> Job | None:
    """running → queued until the charge is known: the call was answered, and that cannot be written down.

    Whatever `on_unknown_charge` says, for the next answer might not be written down either. It counts.
    """
    lost = replace(_NOT_BOOKED, http_status=answer.http_status, inference_id=answer.inference_id)
    job = await _finish(tx, presenter, ref, lost)
    if job is None:
        return None
    counted = job.counted + 1
    return await queue(tx, job, "call", reason="unknown_charge", run_after=None, counted=counted)


async def after_unknown(tx: Transaction, presenter: Presenter, job: Job) -> Job | None:
    """running → queued or → failed, as `on_unknown_charge` says; the attempt keeps its own hold."""
    if (ended := await conclude(tx, presenter, job)) is not None:
        return ended
    if job.on_unknown_charge == "fail":
        message = (
            "The answer to the paid call was lost, so the outcome is unknown; the charge is resolved "
            "from the provider's log."
        )
        return await fail(tx, presenter, job, "outcome_unknown", message, retryable=True)
    # Resolved or not: what a job does must not hang on how soon the log tells of the first one.
    lost = await tx.scalar(
        select(func.count()).where(Attempt.job_id == job.id, Attempt.outcome == "unknown")
    )
    if job.on_unknown_charge == "wait" or (lost or 0) > _MAX_UNKNOWN:
        return await queue(
            tx, job, "call", reason="unknown_charge", run_after=None, counted=job.counted + 1
        )
    return await again(tx, presenter, job, timedelta(0), counts=True)


async def after_resolved(
    tx: Transaction, presenter: Presenter, job: Job, *, paid: bool
) -> Job | None:
    """queued → failed, or queued with a new hold, for a job that waited for just this charge.

    Called by whatever found the charge out, the log or the late worker itself: nothing else will. Any other
    job is given as it is.
    """
    if job.status != "queued" or job.waiting_reason != "unknown_charge":
        return job
    if (ended := await conclude(tx, presenter, job)) is not None:
        return ended
    if paid:
        message = "The lost call was charged, and its image cannot be fetched any more."
        return await fail(tx, presenter, job, "paid_without_image", message, retryable=True)
    if await unknown_hold(tx, job):
        return job
    return await again(tx, presenter, job, timedelta(0), counts=False)


async def again(
    tx: Transaction, presenter: Presenter, job: Job, delay: timedelta, *, counts: bool
) -> Job | None:
    """→ queued with a hold for the next attempt, if the job's own limits allow one more."""
    counted = job.counted + (1 if counts else 0)
    if (ended := await conclude(tx, presenter, job)) is not None:
        return ended
    if counted >= job.max_attempts:
        told = f"All {job.max_attempts} attempts ended without an image; see `attempts` for each."
        told += await _last_words(tx, job)
        return await fail(tx, presenter, job, "attempts_exhausted", told, retryable=True)
    job = await priced(tx, job)
    if (why := await unaffordable(tx, job)) is not None:
        why += await _last_words(tx, job)
        return await fail(tx, presenter, job, "max_cost_reached", why, retryable=True)
    held = await hold_next(tx, job)
    if not isinstance(held, Job):
        return await wait_for_room(tx, job, held, counted=counted)
    reason: WaitingReason = "backoff" if delay else "queue"
    return await queue(tx, held, "call", reason=reason, run_after=delay, counted=counted)


async def _project(tx: Transaction, job_id: UUID) -> UUID | None:
    return await tx.scalar(select(Job.project_id).where(Job.id == job_id))


async def _last_words(tx: Transaction, job: Job) -> str:
    """Return what the last call met, as a sentence to add; empty when it said nothing."""
    last = select(Attempt.error["message"].as_string()).where(Attempt.job_id == job.id)
    said = await tx.scalar(last.order_by(Attempt.number.desc()).limit(1))
    return f" The last one: {said}" if said else ""


async def _parked_before(tx: Transaction, ref: Ref, reason: WaitingReason) -> Attempt | None:
    """Return the job's first call, before this one, that was refused for the same reason."""
    before = select(Attempt).where(
        Attempt.job_id == ref.job_id,
        Attempt.number < ref.number,
        Attempt.outcome == "parked",
        Attempt.error["code"].as_string() == reason,
    )
    return await tx.scalar(before.order_by(Attempt.number).limit(1))


async def _served(tx: Transaction, refused: Attempt) -> bool:
    """Return whether the key of a call that was refused has made an image in a later one."""
    later = select(Attempt.id).where(
        Attempt.sent_at > refused.finished_at,
        Attempt.key_prefix == refused.key_prefix,
        Attempt.outcome == "image",
    )
    return await tx.scalar(later.limit(1)) is not None


async def _finish(tx: Transaction, presenter: Presenter, ref: Ref, answer: Answer) -> Job | None:
    """Finish one's own attempt; returns the job (its row taken) if it is still one's own."""
    job = await lock(tx, ref.job_id)
    if job.erased_at is not None:
        answer = attempts.bare(answer)
    finished = await attempts.finish(tx, job, ref.number, answer, start_id=ref.start_id)
    if finished is None:
        return None
    attempt, job = finished
    if job.fence == ref.fence and job.status == "running":
        return job
    if attempt.charge != "unknown":
        job = await tell_resolved(tx, presenter, job)
        await after_resolved(tx, presenter, job, paid=attempt.charge == "settled")
    return None


async def tell_resolved(tx: Transaction, presenter: Presenter, job: Job) -> Job:
    """Announce that a charge which had been unknown is known now; also for a finished job."""
    job = (await tx.scalars(change(job.id))).one()
    await announce(tx, presenter, job, "job.charge_resolved")
    return job
