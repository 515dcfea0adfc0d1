"""The leases of what runs: a worker renews all of its own with each heartbeat."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import (
    func,
    select,
    tuple_,
    update,
)

from models.jobs.attempts import Ref
from models.platform.db import Transaction
from models.schema import Job


async def renew(tx: Transaction, running: Sequence[Ref], lease: timedelta) -> set[Ref]:
    """Renew the leases of all that a worker has in flight, in one UPDATE; returns those it still has.

    A row that is locked is passed by until the next beat, for the transaction that holds it is just
    moving the job. One that waited for each of them would hold the rows before it meanwhile, and those
    that want them: a convoy in which healthy workers lose their leases.
    """
    if not running:
        return set()
    mine = tuple_(Job.id, Job.fence).in_([(ref.job_id, ref.fence) for ref in running])
    free = (
        select(Job.id)
        .where(Job.status == "running", mine)
        .with_for_update(key_share=True, skip_locked=True)
    )
    await tx.execute(
        update(Job).where(Job.id.in_(free.scalar_subquery())).values(lease_until=func.now() + lease)
    )
    rows = await tx.execute(select(Job.id, Job.fence).where(Job.status == "running", mine))
    still = {(row.id, row.fence) for row in rows}
    return {ref for ref in running if (ref.job_id, ref.fence) in still}
