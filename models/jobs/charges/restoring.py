"""After a restore from a backup: books the calls that were made since, and pays none of them again.

The backup does not know them; the provider's log does, by their `client_request_id`. What such a call
brought was kept by a database that is gone, and its image cannot be fetched again: a job that was charged
fails `paid_without_image`, and its project decides. A job whose calls were free goes on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, or_, select, update

from models import ids
from models.jobs import attempts
from models.jobs.attempts import booking
from models.jobs.changes.moving import lock, queue
from models.jobs.endings.closing import release_pending_hold, unknown_hold
from models.jobs.running.answering import after_resolved, tell_resolved
from models.jobs.view import Presenter
from models.money import hours, ledger
from models.platform.db import Transaction
from models.schema import Attempt, Event, Job

_ERROR = {"code": "restored", "message": "It was made after the backup that was restored."}


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the provider logged it: `credits` as charged, or None for one that failed."""

    number: int
    credits: int | None
    inference_id: str | None
    made_at: datetime
    key_prefix: str


async def newest(tx: Transaction, before: datetime) -> datetime | None:
    """Return from when calls may be missing: the last that the backup saw, or of an open call."""
    moments = await tx.execute(
        select(
            select(func.max(Job.created_at)).where(Job.created_at < before).scalar_subquery(),
            select(func.max(Attempt.sent_at)).where(Attempt.sent_at < before).scalar_subquery(),
            select(func.max(Event.created_at)).where(Event.created_at < before).scalar_subquery(),
        )
    )
    seen = [each for each in moments.one() if each is not None]
    under_way = await tx.scalar(
        select(func.min(Attempt.sent_at)).where(
            Attempt.charge == "unknown",
            or_(Attempt.finished_at.is_(None), Attempt.finished_at >= before),
        )
    )
    found = [max(seen)] if seen else []
    return min([*found, under_way] if under_way is not None else found, default=None)


async def existing(tx: Transaction, job_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these jobs that the database has."""
    return set(await tx.scalars(select(Job.id).where(Job.id.in_(job_ids))))


async def recall(
    tx: Transaction,
    presenter: Presenter,
    job_id: UUID,
    calls: Sequence[Call],
    *,
    paused_at: datetime,
) -> list[Call]:
    """Book those of a job's calls that the backup does not know; returns them.

    queued, released, running → failed when one of them was charged, else → queued for the next. A call that
    was under way in the backup is one of them, even if the reaper has given it up since `paused_at`.
    """
    job = await lock(tx, job_id)
    known = {each.number: each for each in (await attempts.of(tx, [job_id]))[job_id]}
    # In phase `keep` the job names the image's call, not its last one.
    last = max([job.attempt, *known])
    moves = job.status != "queued" or any(call.number > last for call in calls)
    booked: list[Call] = []
    for call in sorted(calls, key=lambda each: each.number):
        found = known.get(call.number)
        if call.number > last:
            job, attempt = await _add(tx, await _close_open(tx, job), call)
        elif found is not None and _is_open(found, paused_at):
            job, attempt = await _close_open(tx, job), found
        else:
            continue
        done = await booking.resolve(
            tx, job, attempt,
            credits_=call.credits, inference_id=call.inference_id, made_at=call.made_at,
        )  # fmt: skip
        if done is not None:
            job = done[1]
            booked.append(call)
    if booked:
        await _go_on(tx, presenter, job, booked, moves=moves)
    return booked


async def _go_on(
    tx: Transaction, presenter: Presenter, job: Job, booked: Sequence[Call], *, moves: bool
) -> None:
    """Announce what was booked, and fail or requeue a job that waits for it or had a worker."""
    job = await tell_resolved(tx, presenter, job)
    paid = any(call.credits is not None for call in booked)
    if job.finished_at is None and job.phase == "call" and (paid or moves):
        job = await _wait(tx, job, counted=len(booked))
        await after_resolved(tx, presenter, job, paid=paid)


def _is_open(attempt: Attempt, paused_at: datetime) -> bool:
    given_up = attempt.outcome == "unknown" and attempt.charge == "unknown"
    ended = attempt.finished_at
    return ended is None or (given_up and ended >= paused_at)


async def _close_open(tx: Transaction, job: Job) -> Job:
    """Abandon the call that was under way in the backup, if one was; its hold stays its own."""
    if job.status != "running" or job.phase != "call":
        return job
    closed = await attempts.finish(tx, job, job.attempt, attempts.LOST, start_id=None)
    return job if closed is None else closed[1]


async def _add(tx: Transaction, job: Job, call: Call) -> tuple[Job, Attempt]:
    """Write the row of a call that the backup does not know, with the hold that waited for it.

    A hold for another number is given back: numbers that the log does not show never reached the provider.
    Then the call has one of nothing, so that its charge falls into a window of the budgets; they have
    no say about what is spent already.
    """
    pending = job.held - await unknown_hold(tx, job)
    if pending <= 0 or call.number != job.attempt + 1:
        job = await release_pending_hold(tx, job)
        job = await ledger.book(tx, job, ledger.hold(call.number, 0))
        pending = 0
    added = await tx.scalars(
        insert(Attempt)
        .values(
            id=ids.new(),
            job_id=job.id,
            number=call.number,
            start_id=ids.new(),
            worker="restore",
            client_request_id=attempts.client_request_id(job.id, call.number),
            key_prefix=call.key_prefix,
            sent_at=call.made_at,
            finished_at=func.now(),
            outcome="unknown",
            hold=pending,
            error=_ERROR,
        )
        .returning(Attempt)
    )
    await hours.count_late_attempt(tx, job, call.made_at)
    moved = await tx.scalars(
        update(Job).where(Job.id == job.id).values(attempt=call.number).returning(Job),
    )
    return moved.one(), added.one()


async def _wait(tx: Transaction, job: Job, *, counted: int) -> Job:
    """Any state that is not terminal → queued until the charge is known, which it is now.

    The worker that had the job in the backup has it no more: its fence has grown.
    """
    counts, fence = job.counted + counted, job.fence + 1
    waits = await queue(
        tx, job, "call", reason="unknown_charge", run_after=None, counted=counts, fence=fence
    )
    return waits or job
