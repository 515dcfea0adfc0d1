"""Bringing rows of a batch into the queue: some hundreds at a time, in the order in which they came.

What waits in its batch is in nobody's way: the queue never holds more of a batch than `WINDOW`, however
many rows it has. So a pause, a cancel and a change of priority take effect at once, and the dispatcher's
choice of what runs next costs as much beside 50,000 rows as beside 500.
"""

from datetime import timedelta

from sqlalchemy import select, text

from models.jobs.batches.rows import LEADS
from models.jobs.changes.moving import queue
from models.jobs.endings.closing import unknown_hold
from models.jobs.endings.ending import conclude, fail
from models.jobs.running.affording import (
    NoRoom,
    hold_next,
    priced,
    unaffordable,
    wait_for_room,
)
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import prepared
from models.schema import Batch, Job
from models.states import IN_BATCH, ROW_IN_QUEUE, ROW_READY, ROW_UNHELD

WINDOW = 500  # rows of a batch in the queue
_FUNDED = 20  # rows that are looked at one by one in a turn


async def feed(tx: Transaction, presenter: Presenter, batch: Batch) -> tuple[int, bool]:
    """Fill up what a running batch (its row is taken) has in the queue; returns how many rows came.

    And whether rows are left that only money holds. First those that need a hold: they have waited longest.
    """
    queued = (await tx.run(_QUEUED, {"batch": batch.id, "most": WINDOW}))[0]["n"]
    if queued > WINDOW // 2:
        return 0, False
    came, short = await _fund(tx, presenter, batch)
    rows = await tx.run(
        _FEED, {"batch": batch.id, "most": WINDOW - queued, **of_priority(batch.priority)}
    )
    if came or rows:
        tx.ring("jobs")
    return came + len(rows), short


def of_priority(priority: str | None) -> dict[str, object]:
    """Return what a row's priority becomes, and its lead in the queue; None leaves it as it is."""
    return {"priority": priority, "lead": LEADS[priority or "bulk"]}


async def _fund(tx: Transaction, presenter: Presenter, batch: Batch) -> tuple[int, bool]:
    """Hold for rows that hold nothing for their next call, until one finds no room."""
    waiting = (
        select(Job)
        .where(Job.batch_id == batch.id, text(IN_BATCH), text(ROW_UNHELD))
        .order_by(Job.batch_row)
        .limit(_FUNDED)
        .with_for_update(key_share=True, skip_locked=True)
    )
    came = 0
    for job in list(await tx.scalars(waiting)):
        if not await _afford(tx, presenter, job):
            return came, True
        came += 1
    return came, False


async def _afford(tx: Transaction, presenter: Presenter, job: Job) -> bool:
    """→ queued, holding; or → failed by its own `max_cost`. False when its batch has no room."""
    job = await priced(tx, job)
    if job.held > await unknown_hold(tx, job):
        return await queue(tx, job, "call", reason="queue", run_after=timedelta(0)) is not None
    if (why := await unaffordable(tx, job)) is not None:
        if await conclude(tx, presenter, job) is None:
            await fail(tx, presenter, job, "max_cost_reached", why, retryable=True)
        return True
    held = await hold_next(tx, job, reference=str(job.version))
    if isinstance(held, NoRoom):
        return held.reason == "budget" and await wait_for_room(tx, job, held) is not None
    return await queue(tx, held, "call", reason="queue", run_after=timedelta(0)) is not None


_QUEUED = prepared(
    text(f"""
    SELECT count(*) AS n FROM (
        SELECT FROM jobs WHERE batch_id = :batch AND {IN_BATCH} AND {ROW_IN_QUEUE} LIMIT :most) few
""")  # noqa: S608 - constants of ours
)
_FEED = prepared(
    text(f"""
    WITH picked AS (
        SELECT id FROM jobs
         WHERE batch_id = :batch AND {IN_BATCH} AND {ROW_READY}
         ORDER BY batch_row LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE jobs SET run_after = now(), waiting_reason = 'queue',
           priority = coalesce(CAST(:priority AS text), priority),
           rank = CASE WHEN CAST(:priority AS text) IS NULL THEN rank ELSE created_at + :lead END
      FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id
""")  # noqa: S608 - constants of ours
)
