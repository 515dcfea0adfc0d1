"""The part of a batch's money that one of its rows has: its first hold, and later what more it needs.

A row that needs more (its price rose, or the charge of an earlier call is unknown) draws it from what its
batch has left of its `max_cost`. Nobody waits for the batch's row here: the dispatcher, which may have it
just now, locks the windows of budgets after it, and who books an answer may have those already. A row that
draws nothing waits in its batch, and the dispatcher draws for it (`batches`).
"""

from sqlalchemy import or_, select, update

from models.jobs.endings.closing import unknown_hold
from models.platform.db import Transaction
from models.schema import Batch, Job


async def draw(tx: Transaction, job: Job) -> Job | None:
    """Allot a row what its next call costs, of which it holds nothing yet; None: its batch has too little.

    Its row is taken. A job of no batch needs none, and is given as it is.
    """
    if job.batch_id is None or job.allotted is None:
        return job
    needed = job.charged + await unknown_hold(tx, job) + job.estimate
    more = needed - job.allotted
    if more <= 0:
        return job
    bounded = or_(Batch.max_cost.is_(None), Batch.committed + more <= Batch.max_cost)
    free = (
        select(Batch.id)
        .where(Batch.id == job.batch_id, bounded)
        .with_for_update(key_share=True, skip_locked=True)
    )
    drawn = update(Batch).where(Batch.id == free.scalar_subquery())
    values = {"committed": Batch.committed + more, "version": Batch.version + 1}
    if await tx.scalar(drawn.values(values).returning(Batch.id)) is None:
        return None
    allotted = update(Job).where(Job.id == job.id).values(allotted=needed)
    return (await tx.scalars(allotted.returning(Job))).one()
