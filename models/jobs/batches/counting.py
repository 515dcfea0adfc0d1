"""Counting a batch's rows as they end: each once, by the dispatcher, some at a time.

No arrow of a job writes into its batch: that row would be hot. A row that has ended is found by an index of
those whose end was not told off yet, or whose cost has changed since, and what it was allotted and did not
need goes back to its batch.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text, update

from models import ids
from models.platform.db import Transaction
from models.platform.db.statements import prepared
from models.schema import Batch
from models.states import IN_BATCH, ROW_UNTOLD

MOST = 500  # rows in one turn


@dataclass(frozen=True, slots=True)
class Told:
    """How many rows were told off, and how the batch then stands."""

    rows: int
    batch: Batch


async def tell_off(tx: Transaction, batch: Batch) -> Told:
    """Count the rows of a batch (its row is taken) that have ended since; at most `MOST` of them."""
    rows = await tx.run(_TELL_OFF, {"batch": batch.id, "most": MOST})
    if not rows:
        return Told(0, batch)
    counts = dict.fromkeys(("succeeded", "failed", "canceled", "expired", "too_late"), 0)
    errors = dict(batch.errors)
    for row in rows:
        if row["known"]:
            continue
        counts[row["status"]] += 1
        counts["too_late"] += row["cancel_outcome"] in {"too_late", "unknown"}
        if row["status"] == "failed":
            errors = _with(errors, row["code"] or "", row["message"] or "", row["id"])
    known = [row for row in rows if row["known"]]
    spent = sum(row["spent"] for row in rows) - sum(row["allotted"] for row in known)
    unused = sum(row["allotted"] - row["spent"] for row in rows)
    changed = await tx.scalars(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(
            **{name: getattr(Batch, name) + more for name, more in counts.items()},
            errors=errors,
            committed=Batch.committed - unused,
            settled=Batch.settled + spent,
            version=Batch.version + 1,
        )
        .returning(Batch)
    )
    tx.ring("batch", str(batch.id))
    return Told(len(rows), changed.one())


def _with(errors: dict[str, object], code: str, message: str, job_id: UUID) -> dict[str, object]:
    """Count one more error of this code; the first message is its example, until that job is erased."""
    before = errors.get(code)
    if isinstance(before, dict):
        return {**errors, code: {**before, "count": before["count"] + 1}}
    example = {"message": message[:500], "job": ids.text(ids.JOB, job_id)}
    return {**errors, code: {"count": 1, **example}}


_TELL_OFF = prepared(
    text(f"""
    WITH picked AS (
        SELECT id, status, allotted, charged + held AS spent, tallied AS known, cancel_outcome,
               error ->> 'code' AS code, error ->> 'message' AS message
          FROM jobs WHERE batch_id = :batch AND {IN_BATCH} AND {ROW_UNTOLD}
         LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
    ), told AS (
        UPDATE jobs SET tallied = true, allotted = picked.spent FROM picked WHERE jobs.id = picked.id
    )
    SELECT * FROM picked
""")  # noqa: S608 - constants of ours
)
