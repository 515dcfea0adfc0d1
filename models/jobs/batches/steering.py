"""What a person does to a batch as a whole: pause, resume, cancel, and change its cap or its priority."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import func, text

from models.errors import Conflict
from models.jobs.batches import advancing, counting, stopping
from models.jobs.batches.accepting import written
from models.jobs.batches.advancing import change
from models.jobs.batches.feeding import of_priority
from models.jobs.batches.reading import Standing, find, standings
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import prepared
from models.schema import Batch
from models.states import BATCH_OVER, IN_BATCH, ROW_IN_QUEUE

_SLICES = 4  # of rows that are ended before the answer: more than are in the queue


async def pause(
    tx: Transaction, presenter: Presenter, project_id: UUID, batch_id: UUID
) -> Standing:
    """running → paused: nothing of it begins; what is under way ends. Raises `NotFound`, `Conflict`."""
    batch = await find(tx, project_id, batch_id, lock=True)
    _demand(batch, "running", "paused")
    if batch.status == "running":
        batch = await advancing.pause(tx, presenter, batch, "request")
    return (await standings(tx, [batch]))[0]


async def resume(tx: Transaction, project_id: UUID, batch_id: UUID) -> Standing:
    """paused → running, for whatever reason it was paused. Raises `NotFound`, `Conflict`.

    One that stopped after so many failures does not count those any more.
    """
    batch = await find(tx, project_id, batch_id, lock=True)
    _demand(batch, "running", "paused")
    if batch.status == "paused":
        stop = batch.stop_after
        again = None if stop is None or batch.failed < stop else batch.failed + stop
        values = {} if again is None else {"stop_after": again}
        batch = await change(tx, batch, status="running", paused_for=None, **values)
        tx.ring("batches")
    return (await standings(tx, [batch]))[0]


async def cancel(
    tx: Transaction, presenter: Presenter, project_id: UUID, batch_id: UUID
) -> Standing:
    """→ canceling: no row begins any more from now on, and each ends. One that is over stays as it is."""
    batch = await find(tx, project_id, batch_id, lock=True)
    if batch.status in {"running", "paused"}:
        asked = {"status": "canceling", "paused_for": None, "cancel_requested_at": func.now()}
        batch = await change(tx, batch, **asked)
        for _ in range(_SLICES):
            done, batch = await stopping.cancel(tx, presenter, batch)
            if not done:
                break
        batch = (await counting.tell_off(tx, batch)).batch
        tx.ring("batches")
    return (await standings(tx, [batch]))[0]


async def alter(
    tx: Transaction, project_id: UUID, batch_id: UUID, changes: Mapping[str, object]
) -> Standing:
    """Change `max_cost` or `priority` of a batch that is not over. Raises `NotFound`, `Conflict`."""
    batch = await find(tx, project_id, batch_id, lock=True)
    _demand(batch, "running", "paused")
    most = changes.get("max_cost")
    if isinstance(most, int) and most < batch.committed:
        raise Conflict(
            f"{batch.committed:,} credits of this batch are held or charged already, which is more than "
            f"{most:,}. Cancel rows, or the batch; or set a max_cost of at least that."
        )
    batch = await change(tx, batch, **changes)
    if batch.priority is not None and "priority" in changes:
        await tx.run(_RANK, {"batch": batch.id, **of_priority(batch.priority)})
    tx.ring("batches")
    return (await standings(tx, [batch]))[0]


def _demand(batch: Batch, *statuses: str) -> None:
    if batch.status not in statuses:
        over = batch.status in BATCH_OVER
        raise Conflict(
            f"The batch {written(batch)} is {batch.status}; "
            + ("it has ended." if over else "it cannot be stopped from ending.")
        )


_RANK = prepared(
    text(f"""
    WITH picked AS (
        SELECT id FROM jobs WHERE batch_id = :batch AND {IN_BATCH} AND {ROW_IN_QUEUE}
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE jobs SET priority = :priority, rank = created_at + :lead FROM picked WHERE jobs.id = picked.id
""")  # noqa: S608 - constants of ours
)
