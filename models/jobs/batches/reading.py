"""Reading batches: where one stands, a page of them, and their rows in the order in which they came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, select, text

from models.errors import NotFound
from models.jobs.reading import Snapshot, snapshots, with_clock
from models.platform.db import Transaction
from models.platform.wording import shown
from models.schema import Batch, Job
from models.states import BATCH_OVER, IN_BATCH, JOB_IN_FLIGHT, NOT_STARTED, ROW_UNKNOWN, BatchStatus

LATELY = timedelta(minutes=1)  # in which the pace is measured


@dataclass(frozen=True, slots=True)
class Standing:
    """A batch, and what is counted when it is looked at: bounded by what is under way, not by its size.

    `unknown` are credits that lost calls of ended rows may have cost; `lately` are the rows that ended
    within a minute. `jobs` are those of a group; a batch has too many.
    """

    batch: Batch
    running: int
    unknown: int
    lately: int
    now: datetime
    jobs: Sequence[Snapshot] = ()

    @property
    def ended(self) -> int:
        """How many rows have ended, as far as they were told off."""
        batch = self.batch
        return batch.succeeded + batch.failed + batch.canceled + batch.expired

    @property
    def over(self) -> bool:
        """Whether nothing changes any more, but for what lost calls cost."""
        return self.batch.status in BATCH_OVER

    @property
    def etag(self) -> str:
        """The tag of this state."""
        jobs = sum(each.job.version for each in self.jobs)
        of_group = f"-{jobs}" if self.jobs else ""
        return f'"{self.batch.version}-{self.running}-{self.unknown}{of_group}"'


async def find(tx: Transaction, project_id: UUID, batch_id: UUID, *, lock: bool = False) -> Batch:
    """Return a batch's row; raises `NotFound`, also for another project's."""
    wanted = select(Batch).where(Batch.id == batch_id, Batch.project_id == project_id)
    found = await tx.scalar(wanted.with_for_update(key_share=True) if lock else wanted)
    if found is None:
        raise NotFound("There is no such batch in this project.")
    return found


async def read(tx: Transaction, project_id: UUID, batch_id: UUID) -> Standing:
    """Return where a batch stands; raises `NotFound`."""
    batch = await find(tx, project_id, batch_id)
    return (await standings(tx, [batch]))[0]


async def standings(tx: Transaction, found: Sequence[Batch]) -> list[Standing]:
    """Return where these batches stand, in one statement for all of them; groups with their jobs."""
    if not found:
        return []
    asked = {"batches": [batch.id for batch in found], "lately": LATELY}
    rows = {row["id"]: row for row in (await tx.execute(_STANDINGS, asked)).mappings()}
    return [_standing(batch, rows[batch.id], await _jobs(tx, batch)) for batch in found]


async def listing(
    tx: Transaction,
    project_id: UUID,
    limit: int,
    *,
    status: BatchStatus | None = None,
    before: UUID | None = None,
) -> tuple[list[Standing], bool]:
    """Read a page of batches, newest first; returns it, and whether there is more."""
    stmt = select(Batch).where(Batch.project_id == project_id, Batch.kind == "batch")
    if status is not None:
        stmt = stmt.where(Batch.status == status)
    if before is not None:
        stmt = stmt.where(Batch.id < before)
    rows = list(await tx.scalars(stmt.order_by(Batch.id.desc()).limit(limit + 1)))
    return await standings(tx, rows[:limit]), len(rows) > limit


async def items(
    tx: Transaction, batch_id: UUID, limit: int, *, status: str | None = None, after: int = 0
) -> tuple[list[Snapshot], bool]:
    """Read a page of a batch's rows in the order in which they came, behind a row."""
    stmt = _rows(batch_id, Job.batch_row > after)
    if status is not None:
        meant = NOT_STARTED if status == "queued" else (status,)
        stmt = stmt.where(Job.status.in_(meant))
    rows = (await tx.execute(stmt.order_by(Job.batch_row).limit(limit + 1))).all()
    return await snapshots(tx, rows[:limit]), len(rows) > limit


async def item(tx: Transaction, batch_id: UUID, custom_id: str) -> Snapshot:
    """Read the row of this name; raises `NotFound`."""
    rows = (await tx.execute(_rows(batch_id, Job.custom_id == custom_id))).all()
    if not rows:
        raise NotFound(f"The batch has no row with the custom_id {shown(custom_id)}.")
    return (await snapshots(tx, rows))[0]


def _rows(batch_id: UUID, *narrower: ColumnElement[bool]) -> Select[Job, datetime, str | None]:
    return with_clock().where(Job.batch_id == batch_id, *narrower)


async def _jobs(tx: Transaction, batch: Batch) -> Sequence[Snapshot]:
    """Return the jobs of a group."""
    if batch.kind == "batch":
        return ()
    return (await items(tx, batch.id, batch.total))[0]


def _standing(batch: Batch, row: RowMapping, jobs: Sequence[Snapshot]) -> Standing:
    return Standing(
        batch, int(row["running"]), int(row["unknown"]), int(row["lately"]), row["now"], jobs
    )


_STANDINGS = text(f"""
    SELECT b.id, now() AS now,
           (SELECT count(*) FROM jobs WHERE {JOB_IN_FLIGHT} AND batch_id = b.id AND status = 'running')
           AS running,
           (SELECT coalesce(sum(held), 0) FROM jobs WHERE {IN_BATCH} AND batch_id = b.id AND {ROW_UNKNOWN})
           AS unknown,
           (SELECT count(*) FROM jobs
             WHERE project_id = b.project_id AND finished_at > now() - :lately AND batch_id = b.id) AS
             lately
      FROM batches b WHERE b.id = ANY (:batches)
""")  # noqa: S608 - constants of ours
