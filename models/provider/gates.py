"""Gates: while one is closed no call is dispatched, for anybody or for one project; it moves no job.

closed     No call passes. The module that owns the reason decides when it may be tried again.
half-open  One job at a time may pass, the probe: a call whose outcome says whether the trouble is over.
           A probe that is refused closes the gate again, for as long as it had been closed by then.
(no row)   Open.

A job is not the probe twice while another one waits, and the job that closed the gate is not the first
probe. The refused probe of one project does not close again a gate that is closed to all: the next probe is
another project's, if one waits. No job is waited for longer than a minute, for a pause or cap may hold it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.platform.db.statements import Reader, Row, prepared
from models.schema import Gate, Job
from models.states import WaitingReason

Way = Literal["open", "probe", "closed"]


@dataclass(frozen=True, slots=True)
class Passage:
    """What may pass the gates that are closed to all: every call, one as a probe, or none.

    No job of `but_jobs` passes, and none of a project of `but_projects`: they were probes.
    """

    way: Way = "open"
    but_jobs: Sequence[UUID] = ()
    but_projects: Sequence[UUID] = ()


async def closed(tx: Reader) -> list[str]:
    """Return why calls may not be dispatched freely at present; an empty list when all gates are open."""
    return [row["reason"] for row in await tx.read(_CLOSED, {})]


async def are_open(tx: Reader) -> bool:
    """Return whether no gate is closed or half-open, to all or to a project."""
    return not await tx.read(_ANY, {})


async def untried(tx: Transaction) -> set[str]:
    """Return the reasons for which a gate, to all or to a project, is closed and not half-open."""
    shut = select(Gate.reason).where(Gate.half_open_at.is_(None)).distinct()
    return set(await tx.scalars(shut))


async def of_projects(tx: Reader) -> dict[str, int]:
    """Return to how many projects a gate is closed that is not closed to all, by reason."""
    return {row["reason"]: row["n"] for row in await tx.read(_OF_PROJECTS, {})}


def shut(reason: WaitingReason) -> ColumnElement[bool]:
    """Return, as SQL, whether a gate is closed to all."""
    return select(Gate.id).where(Gate.reason == reason, Gate.project_id.is_(None)).exists()


def closed_to(job: type[Job] = Job) -> ColumnElement[str]:
    """Return, as SQL beside a job, the reason that has closed a gate to its project for the longest."""
    own = or_(Gate.project_id.is_(None), Gate.project_id == job.project_id)
    oldest = select(Gate.reason).where(own).order_by(Gate.closed_at).limit(1)
    return oldest.correlate(job).scalar_subquery()


async def close(
    tx: Transaction,
    reason: WaitingReason,
    detail: str,
    project_id: UUID | None = None,
    *,
    met_by: UUID | None = None,
) -> None:
    """Close a gate to all, or to one project, saying why; one that is closed stays as it is.

    The job that met the trouble has been the first probe, in effect.
    """
    probed = [] if met_by is None else [met_by]
    row = insert(Gate).values(reason=reason, detail=detail, project_id=project_id, probed=probed)
    await tx.execute(row.on_conflict_do_nothing())


def told(row: Row) -> Passage:
    """Read the row of `PASSAGE`."""
    way: Way = "open" if row["probes"] is None else "probe" if row["probes"] else "closed"
    return Passage(way, row["but_jobs"] or (), row["but_projects"] or ())


async def standing(tx: Transaction) -> list[Gate]:
    """Return every closed or half-open gate, the oldest first."""
    return list(await tx.scalars(select(Gate).order_by(Gate.closed_at, Gate.id)))


async def open_(tx: Transaction, reason: WaitingReason) -> bool:
    """Open a gate that is closed to all; False when it was open."""
    for_all = (Gate.reason == reason) & Gate.project_id.is_(None)
    return await _open(tx, for_all)


async def open_projects(tx: Transaction, reason: WaitingReason) -> bool:
    """Open the gates of single projects for a reason; False when there was none."""
    return await _open(tx, (Gate.reason == reason) & Gate.project_id.is_not(None))


async def _open(tx: Transaction, which: ColumnElement[bool]) -> bool:
    opened = await tx.execute(delete(Gate).where(which).returning(Gate.id))
    if not opened.all():
        return False
    tx.ring("jobs")
    return True


# What is closed to all, and what a probe may be sent through: one row, whether there is any or none
# (`gated`).
PASSAGE = """
    SELECT count(*) > 0 AS gated,
           bool_and(half_open_at IS NOT NULL AND probe_id IS NULL)
               FILTER (WHERE project_id IS NULL) AS probes,
           array_agg(DISTINCT job) FILTER (WHERE job IS NOT NULL) AS but_jobs,
           array_agg(DISTINCT refused_by) FILTER (WHERE project_id IS NULL AND refused_by IS NOT NULL)
               AS but_projects
      FROM gates LEFT JOIN LATERAL unnest(probed) AS job ON true
     WHERE project_id IS NULL OR half_open_at IS NOT NULL"""

_ANY = prepared(text("SELECT FROM gates LIMIT 1"))
_CLOSED = prepared(text("SELECT reason FROM gates WHERE project_id IS NULL ORDER BY closed_at"))
_OF_PROJECTS = prepared(
    text("SELECT reason, count(*) AS n FROM gates WHERE project_id IS NOT NULL GROUP BY reason")
)
