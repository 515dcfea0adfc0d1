"""A batch's turn with the dispatcher: its ended rows are counted, others are brought on, and it may end.

A turn is one short transaction that has taken the batch's row, then rows of jobs that nobody else has, and
the windows of budgets last; it waits for none but the windows.
"""

from uuid import UUID

from sqlalchemy import func, select, text, update

from models.jobs.batches import counting, feeding, stopping
from models.jobs.batches.telling import tell
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.schema import Batch, Job
from models.states import BATCH_OVER, IN_BATCH, JOB_IN_FLIGHT, ROW_IN_QUEUE, PauseCause

_TENTH = 10  # percent: how often the progress is told


async def advance(tx: Transaction, presenter: Presenter, batch_id: UUID) -> bool | None:
    """Do a batch's turn; True when there is more to do at once, None when somebody else has it."""
    batch = await tx.scalar(
        select(Batch).where(Batch.id == batch_id).with_for_update(key_share=True, skip_locked=True)
    )
    if batch is None:
        return None
    told = await counting.tell_off(tx, batch)
    batch, more = told.batch, told.rows == counting.MOST
    if batch.status == "running":
        batch = await _bring_on(tx, presenter, batch)
    elif batch.status == "paused":
        await stopping.park(tx, batch)
    elif batch.status == "canceling":
        done, batch = await stopping.cancel(tx, presenter, batch)
        more = more or done > 0
    await _tell_progress(tx, presenter, batch)
    return more


async def _bring_on(tx: Transaction, presenter: Presenter, batch: Batch) -> Batch:
    """Feed a batch that runs, or pause it: for its failures, or when its money alone holds what is left."""
    if batch.stop_after is not None and batch.failed >= batch.stop_after and _left(batch):
        return await pause(tx, presenter, batch, "failures")
    came, short = await feeding.feed(tx, presenter, batch)
    if short and not came and not await _moves(tx, batch):
        return await pause(tx, presenter, batch, "max_cost")
    return batch


async def pause(tx: Transaction, presenter: Presenter, batch: Batch, cause: PauseCause) -> Batch:
    """running → paused, and tell: what is in the queue goes back into the batch."""
    paused = await change(tx, batch, status="paused", paused_for=cause)
    await stopping.park(tx, paused)
    await tell(tx, presenter, paused, "batch.paused")
    return paused


async def change(tx: Transaction, batch: Batch, **values: object) -> Batch:
    """Change a batch whose row is taken, and wake who waits for it."""
    tx.ring("batch", str(batch.id))
    changed = update(Batch).where(Batch.id == batch.id)
    return (
        await tx.scalars(changed.values(version=Batch.version + 1, **values).returning(Batch))
    ).one()


async def _tell_progress(tx: Transaction, presenter: Presenter, batch: Batch) -> None:
    if batch.status in BATCH_OVER:
        return
    if not _left(batch):
        canceled = batch.status == "canceling"
        ended = await change(
            tx,
            batch,
            status="canceled" if canceled else "completed",
            paused_for=None,
            finished_at=func.now(),
        )
        await tell(tx, presenter, ended, "batch.completed")
        return
    percent = 100 * (batch.total - _left(batch)) // batch.total // _TENTH * _TENTH
    if batch.kind == "batch" and percent > batch.told:
        await tell(tx, presenter, await change(tx, batch, told=percent), "batch.progress")


def _left(batch: Batch) -> int:
    return batch.total - batch.succeeded - batch.failed - batch.canceled - batch.expired


async def _moves(tx: Transaction, batch: Batch) -> bool:
    """Return whether anything of a batch goes on by itself, and may give credits back."""
    mine = Job.batch_id == batch.id
    queued = select(Job.id).where(mine, text(IN_BATCH), text(ROW_IN_QUEUE)).limit(1)
    in_flight = select(Job.id).where(mine, text(JOB_IN_FLIGHT)).limit(1)
    return await tx.scalar(queued) is not None or await tx.scalar(in_flight) is not None
