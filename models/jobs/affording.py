"""What a job's next call costs now, held within its own `max_cost` and the budgets of its project.

A price may rise while a job waits: no call begins on a hold that is less than the price that is known.
"""

from datetime import timedelta

from sqlalchemy import func, update

from models.errors import BudgetExceeded
from models.jobs.closing import release_pending_hold, unknown_hold
from models.jobs.ending import conclude, fail
from models.jobs.view import Presenter
from models.money import ledger, prices
from models.platform.db import Transaction
from models.schema import Job
from models.states import WaitingReason


async def afford(tx: Transaction, presenter: Presenter, job: Job) -> Job | None:
    """Raise the hold of a released job (its row is taken) to the price of now; None: it must not begin.

    → queued, holding nothing, while a hard budget has no room; → failed when its `max_cost` does not pay.
    """
    if (await prices.known(tx, job.model)).present <= job.estimate:
        return job
    # The hold moves to the window of a budget in which the call is paid.
    job = await release_pending_hold(tx, job, reference=str(job.version))
    job = await priced(tx, job)
    if (why := await unaffordable(tx, job)) is not None:
        if await conclude(tx, presenter, job) is None:
            await fail(tx, presenter, job, "max_cost_reached", why, retryable=True)
        return None
    held = await hold_next(tx, job, reference=str(job.version))
    if held is None:
        await queue(tx, job, reason="budget", run_after=None, counted=job.counted)
    return held


async def priced(tx: Transaction, job: Job) -> Job:
    """Estimate a job's next call at what it costs now."""
    price = (await prices.known(tx, job.model)).present or job.estimate
    if price == job.estimate:
        return job
    moved = await tx.scalars(
        update(Job)
        .where(Job.id == job.id)
        .values(estimate=price, version=Job.version + 1)
        .returning(Job),
        execution_options={"populate_existing": True},
    )
    return moved.one()


async def unaffordable(tx: Transaction, job: Job) -> str | None:
    """Say why a job's own `max_cost` pays for no other call; None when it does."""
    spent = job.charged + await unknown_hold(tx, job)
    if spent + job.estimate <= job.max_cost:
        return None
    return (
        f"Another attempt would cost {job.estimate} credits beside the {spent} charged or unknown so far, "
        f"and max_cost is {job.max_cost}."
    )


async def hold_next(tx: Transaction, job: Job, *, reference: str = "") -> Job | None:
    """Hold for the next attempt; None, and nothing booked, when a hard budget has no room.

    `reference` tells the hold from one that the same attempt had before.
    """
    try:
        async with tx.begin_nested():
            hold = ledger.hold(job.attempt + 1, job.estimate, reference)
            return await ledger.book(tx, job, hold)
    except BudgetExceeded:
        return None


async def queue(
    tx: Transaction, job: Job, *, reason: WaitingReason, run_after: timedelta | None, counted: int
) -> Job | None:
    """→ queued for a call: due after `run_after`, or None while it waits for something other than time."""
    tx.ring("job", str(job.id))
    tx.ring("jobs")
    return (
        await tx.scalars(
            update(Job)
            .where(Job.id == job.id, Job.fence == job.fence, Job.finished_at.is_(None))
            .values(
                status="queued",
                phase="call",
                version=Job.version + 1,
                lease_until=None,
                waiting_reason=reason,
                run_after=None if run_after is None else func.now() + run_after,
                counted=counted,
            )
            .returning(Job),
            execution_options={"populate_existing": True},
        )
    ).one_or_none()
