"""Which batches something is to be done of: found by their rows, and taken in turns of their projects.

A look costs what there is to do, and little for each batch that is not over: who has very many of them,
or very many groups, keeps nobody else's waiting.
"""

from uuid import UUID

from sqlalchemy import text

from models.coordination import aside
from models.jobs.batches import feeding
from models.platform.db.statements import Reader, prepared
from models.states import IN_BATCH, ROW_IN_QUEUE, ROW_READY, ROW_UNHELD, ROW_UNTOLD

HALF = feeding.WINDOW // 2  # of what a batch may have in the queue; below it, more are brought in


async def due(tx: Reader, limit: int) -> list[UUID]:
    """Return so many batches of which something is to be done, those of each project in turn."""
    rows = await tx.read(DUE, {"limit": limit, "half": HALF})
    return [row["id"] for row in rows]


def _each_batch(name: str, of: str) -> str:
    """Write the leaps from batch to batch over the index that has only such rows."""
    rows = f"SELECT batch_id FROM jobs WHERE {IN_BATCH} AND {of}"  # noqa: S608 - constants of ours
    return f"""
    {name} AS (
        ({rows} ORDER BY batch_id LIMIT 1)
        UNION ALL
        SELECT following.batch_id FROM {name} CROSS JOIN LATERAL (
               {rows} AND batch_id > {name}.batch_id ORDER BY batch_id LIMIT 1) following
    )"""  # noqa: S608 - constants of ours


_OF_BATCH = f"SELECT FROM jobs WHERE batch_id = b.id AND {IN_BATCH} AND {ROW_IN_QUEUE}"
DUE = prepared(
    text(f"""
    WITH RECURSIVE {_each_batch("untold", ROW_UNTOLD)}, {_each_batch("ready", ROW_READY)},
    {_each_batch("unheld", ROW_UNHELD)}, found AS (
        SELECT batch_id AS id FROM untold
         UNION
        SELECT id FROM batches b
         WHERE finished_at IS NULL AND (
               status = 'canceling' OR succeeded + failed + canceled + expired >= total
            OR status = 'paused' AND EXISTS ({_OF_BATCH} AND phase = 'call'
               AND waiting_reason NOT IN ('unknown_charge', 'following')))
         UNION
        SELECT id FROM (SELECT batch_id FROM ready UNION SELECT batch_id FROM unheld) waiting
          JOIN batches b ON b.id = batch_id
         WHERE status = 'running'
           AND (SELECT count(*) FROM ({_OF_BATCH} LIMIT :half + 1) few) <= :half
    )
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY project_id ORDER BY id) AS nth
          FROM found JOIN batches USING (id) WHERE id <> ALL ({aside.passed("batches")})
    ) lined
     ORDER BY nth, id LIMIT :limit
""")  # noqa: S608 - constants of ours
)
