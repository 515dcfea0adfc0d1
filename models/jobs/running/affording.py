"""The hold of a job's next call, at the price of now, within its `max_cost` and the budgets of its project.

A price may rise while a job waits. No call begins on a hold that is less than the known price.
"""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from models import ids
from models.errors import BudgetExceeded
from models.jobs.changes.moving import change, queue
from models.jobs.endings.closing import release_pending_hold, unknown_hold
from models.jobs.endings.ending import conclude, fail
from models.jobs.running.drawing import draw
from models.jobs.view import Presenter
from models.money import ledger, prices
from models.platform.db import Transaction
from models.schema import Job


@dataclass(frozen=True, slots=True)
class NoRoom:
    """What has no room for a job's next hold: its batch, or the budget of this id."""

    reason: Literal["budget", "batch"]
    budget_id: UUID | None = None


async def afford(tx: Transaction, presenter: Presenter, job: Job) -> Job | None:
    """Raise the hold of a dispatched job (its row is taken) to the price of now; None: it must not begin.

    → queued, holding nothing, while a hard budget has no room; → failed when its `max_cost` does not pay.
    """
    if (await prices.known(tx, job.model)).of(job.input) <= job.estimate:
        return job
    # The hold moves to the window of a budget in which the call is paid.
    job = await release_pending_hold(tx, job, reference=str(job.version))
    job = await priced(tx, job)
    if (why := await unaffordable(tx, job)) is not None:
        if await conclude(tx, presenter, job) is None:
            await fail(tx, presenter, job, "max_cost_reached", why, retryable=True)
        return None
    held = await hold_next(tx, job, reference=str(job.version))
    if isinstance(held, Job):
        return held
    await wait_for_room(tx, job, held)
    return None


async def priced(tx: Transaction, job: Job) -> Job:
    """Estimate a job's next call at what it costs now."""
    price = (await prices.known(tx, job.model)).of(job.input) or job.estimate
    if price == job.estimate:
        return job
    return (await tx.scalars(change(job.id, estimate=price))).one()


async def unaffordable(tx: Transaction, job: Job) -> str | None:
    """Return why a job's own `max_cost` pays for no other call; None when it does."""
    spent = job.charged + await unknown_hold(tx, job)
    if spent + job.estimate <= job.max_cost:
        return None
    return (
        f"Another attempt would cost {job.estimate} credits beside the {spent} charged or unknown so far, "
        f"and max_cost is {job.max_cost}."
    )


async def wait_for_room(tx: Transaction, job: Job, room: NoRoom, **values: object) -> Job | None:
    """→ queued, holding nothing, until there is room; None when somebody else has the job."""
    values |= {"budget_id": room.budget_id}
    return await queue(tx, job, "call", reason=room.reason, run_after=None, **values)


async def hold_next(tx: Transaction, job: Job, *, reference: str = "") -> Job | NoRoom:
    """Hold for the next attempt; or nothing is booked, and this is what had no room for it.

    `reference` tells the hold from one that the same attempt had before.
    """
    try:
        async with tx.begin_nested():
            drawn = await draw(tx, job)
            if drawn is None:
                return NoRoom("batch")
            hold = ledger.hold(job.attempt + 1, job.estimate, reference)
            return await ledger.book(tx, drawn, hold)
    except BudgetExceeded as full:
        return NoRoom("budget", _named(full))


def _named(full: BudgetExceeded) -> UUID | None:
    budget = full.extra.get("budget")
    return ids.parse(ids.BUDGET, str(budget["id"])) if isinstance(budget, dict) else None
