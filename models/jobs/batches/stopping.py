"""Taking rows of a batch out of the queue: back into the batch while it is paused, or to their end.

What waits in its batch begins nothing, so what is in the queue is taken first: from then on a cancel has
stopped every row that had not started, however many are still to be ended.
"""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import BigInteger, Uuid, func, literal, or_, select, text, update

from models.jobs import view
from models.jobs.changes import tallying
from models.jobs.endings.closing import ended_as
from models.jobs.endings.ending import cancel_taken
from models.jobs.view import Presenter
from models.money import budgets, ledger
from models.platform.db import Transaction
from models.platform.db.statements import Statement, attributes, given, loaded, prepared
from models.schema import Batch, Job
from models.states import IN_BATCH, JOB_IN_FLIGHT, ROW_IN_QUEUE, ROW_READY, ROW_UNHELD
from models.webhooks import bodies, events

_AT_ONCE = 250  # rows that are ended by one statement
_ONE_BY_ONE = 25  # rows of which each is another case


async def park(tx: Transaction, batch: Batch) -> int:
    """Put what a paused batch has in the queue back into the batch; returns how many rows."""
    return len(await tx.run(_PARK, {"batch": batch.id}))


async def cancel(tx: Transaction, presenter: Presenter, batch: Batch) -> tuple[int, Batch]:
    """Cancel some rows of a batch (its row is taken); returns how many, and the batch as it then is.

    None of them has begun, but for those whose call is under way: they end by themselves, and try no more.
    """
    done, batch = await _end(tx, presenter, batch, ROW_IN_QUEUE)
    for which in (ROW_IN_QUEUE, JOB_IN_FLIGHT):
        done += await _one_by_one(tx, presenter, batch, which)
    if done >= _AT_ONCE:
        return done, batch
    for which in (ROW_READY, ROW_UNHELD):
        more, batch = await _end(tx, presenter, batch, which)
        # What is left by then cannot be ended together: it was called for before, or has a URL of its own.
        done += more or await _one_by_one(tx, presenter, batch, which)
    return done, batch


async def _end(
    tx: Transaction, presenter: Presenter, batch: Batch, which: str
) -> tuple[int, Batch]:
    """End rows that were never called for, as `ending.end_canceled` does one: in four statements."""
    rows = await tx.run(_ending(which), {"batch": batch.id, "most": _AT_ONCE})
    if not rows:
        return 0, batch
    freed = [(row["id"], row["customer"], row.pop("freed")) for row in rows]
    unused = sum(row.pop("was_allotted") for row in rows)
    await budgets.give_back(tx, batch.project_id, batch.key_id, freed)
    ended = [loaded(Job, row) for row in rows]
    await _announce(tx, presenter, ended)
    changed = await tx.scalars(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(
            canceled=Batch.canceled + len(ended),
            committed=Batch.committed - unused,
            version=Batch.version + 1,
        )
        .returning(Batch)
    )
    tx.ring("batch", str(batch.id))
    return len(ended), changed.one()


async def _announce(tx: Transaction, presenter: Presenter, ended: Sequence[Job]) -> None:
    """Write the event of each end. None of these rows has a URL of its own, so nobody is told."""
    now = next(job.finished_at for job in ended if job.finished_at)
    told = []
    for job in ended:
        body = bodies.of_job("job.canceled", view.job(presenter, job, (), (), now), now)
        told.append(events.Event(body, job=job))
    await events.write(tx, ended[0].project_id, "job.canceled", told)
    for job in ended:
        tallying.ended(tx, job, now)
        tx.ring("job", str(job.id))


async def _one_by_one(tx: Transaction, presenter: Presenter, batch: Batch, which: str) -> int:
    """Cancel rows of which each is another case: called for before, with a URL of its own, in flight."""
    special = or_(
        Job.attempt > 0, Job.webhook_url.is_not(None), Job.phase == "keep", Job.status != "queued"
    )
    taken = (
        select(Job)
        .where(Job.batch_id == batch.id, text(IN_BATCH), text(which))
        .where(Job.cancel_requested_at.is_(None), special)
        .limit(_ONE_BY_ONE)
        .with_for_update(key_share=True, skip_locked=True)
    )
    found = list(await tx.scalars(taken))
    for job in found:
        await cancel_taken(tx, presenter, job)
    return len(found)


_PARK = prepared(
    text(f"""
    WITH picked AS (
        SELECT id FROM jobs
         WHERE batch_id = :batch AND {IN_BATCH} AND {ROW_IN_QUEUE} AND phase = 'call'
           AND waiting_reason NOT IN ('unknown_charge', 'following')
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE jobs SET run_after = NULL, waiting_reason = 'batch' FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id
""")  # noqa: S608 - constants of ours
)


@cache  # at its first use: to write the three of them was a tenth of a start of api
def _ending(which: str) -> Statement:
    """Write the last arrow of some rows at once, with the lines that give back what they held."""
    some = (
        select(Job.id, Job.held.label("freed"), Job.allotted.label("was_allotted"))
        .where(Job.batch_id == given("batch", Uuid()), text(IN_BATCH), text(which))
        .where(Job.attempt == 0, Job.phase == "call", Job.webhook_url.is_(None))
        .order_by(Job.batch_row)
        .limit(given("most", BigInteger()))
        .with_for_update(key_share=True, skip_locked=True)
        .cte("some")
    )
    prevented = {"cancel_requested_at": func.now(), "cancel_outcome": "prevented"}
    nothing = {"held": 0, "allotted": 0, "tallied": True}
    ended = (
        ended_as("canceled", some.c.id, **prevented, **nothing)
        .returning(*attributes(Job), some.c.freed, some.c.was_allotted)
        .cte("ended")
    )
    held = select(ended).where(ended.c.freed > 0).subquery("held")
    freed = ledger.appended(held, (literal(1), "release", -held.c.freed, None))
    return prepared(select(ended).add_cte(freed.cte("freed")))
