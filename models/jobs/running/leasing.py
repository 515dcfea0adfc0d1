"""The leases of what runs: a worker renews all of its own with each heartbeat."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text

from models.jobs.attempts import Ref
from models.platform.db.statements import Writer, prepared


async def renew(tx: Writer, running: Sequence[Ref], lease: timedelta) -> set[Ref]:
    """Renew the leases of all that a worker has in flight, in one statement; returns those it still has.

    A row that is locked is passed by until the next beat, for the transaction that holds it is just
    moving the job. One that waited for each of them would hold the rows before it meanwhile, and those
    that want them: a convoy in which healthy workers lose their leases. A job that is taken away in this
    very moment is still named, until the next beat; its lease is not renewed.
    """
    if not running:
        return set()
    jobs, fences = [ref.job_id for ref in running], [ref.fence for ref in running]
    rows = await tx.run(_RENEW, {"jobs": jobs, "fences": fences, "lease": lease})
    still = {(row["id"], row["fence"]) for row in rows}
    return {ref for ref in running if (ref.job_id, ref.fence) in still}


_RENEW = prepared(
    text("""
    WITH asked AS (
        SELECT * FROM unnest(CAST(:jobs AS uuid[]), CAST(:fences AS bigint[])) AS asked (id, fence)
    ), free AS (
        SELECT id FROM jobs JOIN asked USING (id, fence) WHERE status || '' = 'running'
           FOR NO KEY UPDATE OF jobs SKIP LOCKED
    ), renewed AS (
        UPDATE jobs SET lease_until = now() + :lease FROM free WHERE jobs.id = free.id
    )
    SELECT id, fence FROM jobs JOIN asked USING (id, fence) WHERE status || '' = 'running'
""")
)
