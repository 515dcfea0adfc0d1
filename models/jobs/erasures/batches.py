"""What is said of batches beside their rows: metadata, a name, their own URL; and what was told of that.

Rows are jobs, and forgotten as such; what a batch cost and came to stays.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, update

from models.jobs.retention import erasing
from models.platform.db import Transaction
from models.schema import Batch, Delivery, Event, Job
from models.webhooks import bodies

_NOTHING: dict[str, object] = {
    "meta": {},
    "idempotency_route": None,
    "idempotency_key": None,
    "fingerprint": None,
    "webhook_url": None,
    "webhook_events": None,
}
_SAYS = or_(Batch.meta != {}, Batch.fingerprint.is_not(None), Batch.webhook_url.is_not(None))


async def forget(tx: Transaction, project_id: UUID, naming: ColumnElement[bool]) -> int:
    """Forget what is said of batches that name a subject (`naming`, as SQL), or whose rows all are erased.

    Returns how many forgot something.
    """
    # By the index of each batch's rows: of most the first one is still there. As a value, for of an EXISTS
    # the planner may make a hash over the rows of all batches.
    left = (
        select(Job.id)
        .where(Job.batch_id == Batch.id, Job.batch_id.is_not(None), Job.erased_at.is_(None))
        .limit(1)
        .scalar_subquery()
    )
    mine = Batch.project_id == project_id, _SAYS, or_(naming, left.is_(None))
    found = list(await tx.scalars(update(Batch).where(*mine).values(_NOTHING).returning(Batch.id)))
    told = list(await tx.scalars(select(Event).where(Event.batch_id.in_(found)))) if found else []
    for event in told:
        body = bodies.without_metadata(event.body)
        await tx.execute(update(Event).where(Event.id == event.id).values(body=body))
    await erasing.let_go(tx, Delivery.event_id.in_([event.id for event in told]))
    return len(found)
