"""running (call) → running (keep) → succeeded: the image is paid, now its bytes must be kept."""

from dataclasses import replace
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Update, func, select, update

from models.images import collector, records
from models.images.collector import Contested
from models.images.records import KeptImage
from models.jobs import attempts
from models.jobs.attempts import Answer, Ref, booking
from models.jobs.changes.moving import change, changing, lock
from models.jobs.endings.closing import release_pending_hold
from models.jobs.endings.ending import conclude, end
from models.jobs.running.answering import tell_resolved
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.schema import Attempt, Job
from models.states import NOT_STARTED


async def receive(
    tx: Transaction,
    presenter: Presenter,
    ref: Ref,
    answer: Answer,
    *,
    lease: timedelta,
    ttl: timedelta,
) -> tuple[Literal["keep", "late"], Ref] | None:
    """Book a paid image at once, before its bytes are fetched: from here on nobody pays again.

    `keep`: go on and keep it, under the fence in the `Ref` given back. An image that comes late is
    adopted when the job still waits for one, or to fetch that of an earlier call; otherwise it is a
    `spare`. None when it was received before and the job has moved on, or was erased. Safe to repeat
    after a lost answer to COMMIT.
    """
    job = await lock(tx, ref.job_id)
    if job.erased_at is not None:
        answer = attempts.bare(answer)
    finished = await attempts.finish(tx, job, ref.number, answer, start_id=ref.start_id)
    if finished is not None:
        attempt, job = finished
        if job.fence == ref.fence and job.status == "running":
            await _to_keep(tx, job, lease, ttl)
            return "keep", ref
        if attempt.charge != "unknown":
            job = await tell_resolved(tx, presenter, job)
    elif not await _note_late(tx, presenter, job, ref, answer):
        return await _received_before(tx, job, ref)
    if job.erased_at is not None:
        return None
    waits = job.phase == "call" or job.attempt < ref.number
    if job.status in NOT_STARTED and waits:
        return "keep", await _adopt(tx, job, ref, lease, ttl)
    if job.status == "running" and job.phase == "call":
        overtaken = update(Job).where(Job.id == job.id).values(keep_until=func.now() + ttl)
        await tx.execute(overtaken)
    return "late", ref


async def succeed(tx: Transaction, presenter: Presenter, ref: Ref, kept: KeptImage) -> Job | None:
    """running (keep) → succeeded; or → canceled, when the cancel came too late to save the money.

    Raises `Contested` when the image's bytes may have been deleted since they were put.
    """
    job = await lock(tx, ref.job_id)
    if job.fence != ref.fence or job.status != "running" or job.phase != "keep":
        return None
    return await _end_with(tx, presenter, job, ref, kept)


async def _end_with(
    tx: Transaction, presenter: Presenter, job: Job, ref: Ref, kept: KeptImage
) -> Job | None:
    await _write_image(tx, job, ref, kept, late_image=False)
    if job.cancel_requested_at is not None:
        return await end(tx, presenter, job, "canceled", cancel_outcome="too_late")
    return await end(tx, presenter, job, "succeeded")


async def keep_late(tx: Transaction, presenter: Presenter, ref: Ref, kept: KeptImage) -> Job | None:
    """Remember the image of an attempt that another one had overtaken: it was paid for.

    When that other one has ended without an image meanwhile, the job is in phase `keep` for this image or
    an earlier one, or waits for a call if nobody else could fetch it: → succeeded with it. Else it stays
    a late image, and None is given. That of a job which was erased is forgotten. Raises `Contested`, as
    `succeed` does. Safe to repeat after a lost answer to COMMIT.
    """
    job = await lock(tx, ref.job_id)
    if job.erased_at is not None:
        await collector.mark(tx, [(job.project_id, kept.sha256)])
        return None
    if job.phase == "keep" and job.attempt <= ref.number and job.finished_at is None:
        return await _end_with(tx, presenter, job, ref, kept)
    await _write_image(tx, job, ref, kept, late_image=True)
    if job.status not in NOT_STARTED or job.phase != "call":
        return None
    return await conclude(tx, presenter, job)


async def pass_by(tx: Transaction, ref: Ref) -> None:
    """Write that the bytes of a late image are no image, so that nobody fetches them again."""
    await tx.execute(
        update(Attempt)
        .where(Attempt.job_id == ref.job_id, Attempt.start_id == ref.start_id)
        .values(provider_url=None)
    )


def to_keep(
    job_id: UUID | ColumnElement[UUID],
    *guards: ColumnElement[bool],
    lease: timedelta | ColumnElement[timedelta],
    ttl: timedelta | ColumnElement[timedelta],
    **sums: object,
) -> Update:
    """Write that a job's image is paid, and only its bytes are still to be kept."""
    until, lease_until = func.now() + ttl, func.now() + lease
    return changing(
        job_id, *guards, phase="keep", keep_until=until, lease_until=lease_until, **sums
    )


async def _to_keep(tx: Transaction, job: Job, lease: timedelta, ttl: timedelta) -> None:
    mine = (Job.fence == job.fence, Job.status == "running")
    await tx.execute(to_keep(job.id, *mine, lease=lease, ttl=ttl))
    tx.ring("job", str(job.id))
    tx.ring("jobs")  # the provider has a place for the next call


async def _note_late(
    tx: Transaction, presenter: Presenter, job: Job, ref: Ref, answer: Answer
) -> bool:
    """Book an image whose charge the provider's log has told already; return False when it came before."""
    late = await attempts.note_late(tx, job.id, ref.number, answer, start_id=ref.start_id)
    if late is None:
        return False
    answer = await attempts.believed(tx, job, ref.number, answer)
    if late.charge == "released" and answer.credits is not None:
        reference = answer.inference_id
        await booking.resolve(tx, job, late, credits_=answer.credits, inference_id=reference)
        await tell_resolved(tx, presenter, job)
    return True


async def _received_before(
    tx: Transaction, job: Job, ref: Ref
) -> tuple[Literal["keep", "late"], Ref] | None:
    """Go on after a lost answer to COMMIT, as that commit had said; None when others have the image."""
    mine = await tx.scalar(
        select(Attempt).where(
            Attempt.job_id == job.id,
            Attempt.number == ref.number,
            Attempt.start_id == ref.start_id,
            Attempt.outcome == "image",
        )
    )
    if mine is None or job.erased_at is not None:
        return None
    if job.phase != "keep" or job.attempt != ref.number:
        return "late", ref
    still_mine = job.status == "running" and job.worker == mine.worker
    return ("keep", replace(ref, fence=job.fence)) if still_mine else None


async def _adopt(tx: Transaction, job: Job, ref: Ref, lease: timedelta, ttl: timedelta) -> Ref:
    """Queued | released → running (keep), under a fresh fence: a worker that was to start it finds it gone.

    `attempt` becomes the one whose image this is: no other will begin, and the worker that takes the
    keeping over finds the image's URL by it.
    """
    job = await release_pending_hold(tx, job)
    sender = select(Attempt.worker).where(Attempt.job_id == job.id, Attempt.number == ref.number)
    tx.ring("job", str(job.id))
    adopted = await tx.scalars(
        change(
            job.id,
            status="running",
            phase="keep",
            fence=Job.fence + 1,
            attempt=ref.number,
            worker=sender.scalar_subquery(),
            waiting_reason=None,
            keep_until=func.now() + ttl,
            lease_until=func.now() + lease,
        )
    )
    return replace(ref, fence=adopted.one().fence)


async def _write_image(
    tx: Transaction, job: Job, ref: Ref, kept: KeptImage, *, late_image: bool
) -> None:
    blob = [(job.project_id, kept.sha256)]
    there = (
        await collector.attach(tx, blob)
        if kept.reserved
        else not await collector.is_marked(tx, blob)
    )
    if not there:
        raise Contested(f"{job.project_id}/{kept.sha256} has lost its other references")
    await records.write(tx, job.id, ref.number, kept, late_image=late_image)
