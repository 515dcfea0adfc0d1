"""queued (budget) → queued: jobs that waited for room in a budget hold again, as far as there is some.

A job that waits names the budget that refused it. So those of a full budget cost one look, however many
they are, and keep nobody waiting who falls under another one.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text, update

from models.coordination import aside
from models.jobs.changes.moving import lock, queue
from models.jobs.endings.ending import conclude, fail
from models.jobs.running.affording import (
    NoRoom,
    hold_next,
    priced,
    unaffordable,
    wait_for_room,
)
from models.jobs.view import Presenter
from models.money import budgets, prices
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Job
from models.states import JOB_UNFUNDED


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for room, and the budget whose room it is; None where nobody has said which."""

    project_id: UUID
    budget_id: UUID | None
    job_id: UUID


async def waiting_for_budget(tx: Reader, limit: int) -> list[Waiting]:
    """Return jobs whose budget has room for the first of its line: so many of each project, by rank."""
    rows = await tx.read(_UNFUNDED, {"limit": limit, "listed": prices.listed()})
    return [Waiting(row["project_id"], row["budget_id"], row["id"]) for row in rows]


async def readmit(tx: Transaction, presenter: Presenter, job_id: UUID) -> Job | None:
    """queued (budget) → queued: hold again, now that there may be room; None when there is still none.

    What another budget or its batch refuses waits for that from now on. → failed when the price has risen
    beyond its `max_cost` meanwhile.
    """
    job = await lock(tx, job_id)
    if job.status != "queued" or job.waiting_reason != "budget":
        return None
    job = await priced(tx, job)
    if (why := await unaffordable(tx, job)) is not None:
        return await conclude(tx, presenter, job) or await fail(
            tx, presenter, job, "max_cost_reached", why, retryable=True
        )
    held = await hold_next(tx, job, reference=str(job.version))
    if not isinstance(held, NoRoom):
        return await queue(tx, held, "call", reason="queue", run_after=timedelta(0))
    if held.reason == "batch":
        return await wait_for_room(tx, job, held)
    if held.budget_id == job.budget_id:
        return None
    # Nobody sees from outside for which of its budgets it waits.
    moved = update(Job).where(Job.id == job.id).values(budget_id=held.budget_id)
    return (await tx.scalars(moved.returning(Job))).one()


_LINE = f"""
           SELECT id, rank FROM jobs
            WHERE {JOB_UNFUNDED} AND project_id = lines.project_id AND budget_id {{budget}}
              AND id <> ALL ({aside.passed("readmit")})
            ORDER BY rank, id LIMIT :limit"""  # noqa: S608 - constants of ours

# Leaps over ix_jobs_unfunded from project to project, and within one from budget to budget. A line whose
# first job finds no room costs that one look; a budget that is gone, or soft by now, has room for all. What
# its own `max_cost` does not pay for needs no room: it fails.
_UNFUNDED = prepared(
    text(f"""
    WITH RECURSIVE owners AS (
        (SELECT project_id FROM jobs WHERE {JOB_UNFUNDED} ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT following.* FROM owners CROSS JOIN LATERAL (
               SELECT project_id FROM jobs
                WHERE {JOB_UNFUNDED} AND project_id > owners.project_id
                ORDER BY project_id LIMIT 1) following
    ), named AS (
        SELECT first.* FROM owners CROSS JOIN LATERAL (
               SELECT project_id, budget_id, model, input, max_cost - charged AS may_cost FROM jobs
                WHERE {JOB_UNFUNDED} AND project_id = owners.project_id AND budget_id IS NOT NULL
                ORDER BY budget_id, rank, id LIMIT 1) first
        UNION ALL
        SELECT following.* FROM named CROSS JOIN LATERAL (
               SELECT project_id, budget_id, model, input, max_cost - charged AS may_cost FROM jobs
                WHERE {JOB_UNFUNDED} AND project_id = named.project_id AND budget_id > named.budget_id
                ORDER BY budget_id, rank, id LIMIT 1) following
    ), lines AS (
        SELECT project_id, budget_id FROM named AS jobs, LATERAL (SELECT {prices.PRESENT} AS price) now_
         WHERE coalesce({budgets.LEFT.format(budget="jobs.budget_id")} >= price, true)
            OR may_cost < price
    ), found AS (
        SELECT lines.*, first.* FROM lines CROSS JOIN LATERAL ({_LINE.format(budget="= lines.budget_id")}
               ) first
        UNION ALL
        SELECT lines.project_id, NULL, first.* FROM owners AS lines
               CROSS JOIN LATERAL ({_LINE.format(budget="IS NULL")}) first
    )
    SELECT project_id, budget_id, id FROM (
           SELECT *, row_number() OVER (PARTITION BY project_id ORDER BY rank, id) AS nth FROM found
           ) lined WHERE nth <= :limit ORDER BY project_id, nth
""")  # noqa: S608 - ours
)
