"""Reaping: jobs are taken back from workers whose lease has run out.

Each job in a transaction of its own: a batch would lock the rows of budgets in an order of its own and
deadlock with another batch, and one poisoned row would hold up all others.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, func, select

from models.coordination import aside
from models.jobs import attempts
from models.jobs.changes.moving import lock, take_back
from models.jobs.endings.ending import queue_keep
from models.jobs.running.answering import after_unknown
from models.jobs.running.postponing import image_lost
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, given, prepared
from models.schema import Job
from models.states import IN_FLIGHT

# A message that was lost, a call that was lost, an image that is still to be kept.
Reaped = Literal["unsent", "lost", "keeping"]


async def overdue(tx: Reader, limit: int) -> list[UUID]:
    """Return jobs whose lease has run out by the database's clock, oldest first."""
    return [row["id"] for row in await tx.read(_OVERDUE, {"limit": limit})]


async def reap(tx: Transaction, presenter: Presenter, job_id: UUID) -> Reaped | None:
    """Take a job back from a worker whose lease has run out; return None when it has not."""
    job = await lock(tx, job_id)
    clock = select(Job.lease_until < func.now(), Job.keep_until <= func.now())
    run_out, url_is_dead = (await tx.execute(clock.where(Job.id == job_id))).one()
    if not run_out:
        return None
    if job.status == "released":
        await take_back(tx, [(job.id, job.fence)])  # its message was lost, and nothing was sent
        return "unsent"
    if job.phase == "keep":
        # Not for ever: bytes that kill whoever keeps them would be taken back again and again.
        if url_is_dead:
            await image_lost(tx, presenter, job, "the workers that tried died or lost their lease")
        else:
            await queue_keep(tx, job, timedelta(0), attempt=job.attempt)
        return "keeping"
    finished = await attempts.finish(tx, job, job.attempt, attempts.LOST, start_id=None)
    await after_unknown(tx, presenter, job if finished is None else finished[1])
    return "lost"


_OVERDUE = prepared(
    select(Job.id)
    .where(
        Job.status.in_(IN_FLIGHT),
        Job.lease_until < func.now(),
        ~aside.passed_by("reap", Job.id),
    )
    .order_by(Job.lease_until)
    .limit(given("limit", BigInteger()))
)
