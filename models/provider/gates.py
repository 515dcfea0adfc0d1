"""Gates: while one is closed no call is dispatched, for anybody or for one project; it moves no job.

closed     No call passes. The module that owns the reason decides when it may be tried again.
half-open  One job at a time may pass, the probe: a call whose outcome says whether the trouble is over.
           A probe that is refused closes the gate again, for as long as it had been closed by then.
(no row)   Open.

A job is not the probe twice while another one waits, and the job that closed the gate is not the first
probe. The refused probe of one project does not close again a gate that is closed to all: the next probe is
another project's, if one waits. No job is waited for longer than a minute, for a pause or cap may hold it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, delete, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from models.platform.db import Transaction
from models.platform.db.absences import absence
from models.platform.db.statements import Reader, Row, Writer, prepared
from models.schema import Attempt, Gate, Job
from models.states import IN_FLIGHT, WaitingReason

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LONGEST = timedelta(minutes=5)  # a key that was put right works again after at most this long
_AT_ONCE = timedelta(0)
_TURN = timedelta(minutes=1)  # a half-open gate waits so long for a job that was no probe
_LOOKED_AT = 200  # half-open gates that one look judges
# A limit that is reached, a worker that died, our own store: they say nothing about any trouble there.
_SAYS_NOTHING = frozenset({"slow_down", "worker_lost", "storage", "forbidden", "wallet_doubted"})
_FORBIDDEN = 403

_CLOSED = {"half_open_at": None, "refused_by": None, "checked_at": func.now()}

GateState = Literal["open", "closed", "half_open"]
Way = Literal["open", "probe", "closed"]


@dataclass(frozen=True, slots=True)
class Passage:
    """What may pass the gates that are closed to all: every call, one as a probe, or none.

    No job of `but_jobs` passes, and none of a project of `but_projects`: they were probes.
    """

    way: Way = "open"
    but_jobs: Sequence[UUID] = ()
    but_projects: Sequence[UUID] = ()
    gated: bool = (
        False  # there is a gate that a probe may be sent through, or that is closed to all
    )


async def closed(tx: Transaction) -> list[str]:
    """Return why calls may not be dispatched freely at present; an empty list when all gates are open."""
    for_all = select(Gate.reason).where(Gate.project_id.is_(None))
    return list(await tx.scalars(for_all.order_by(Gate.closed_at)))


async def untried(tx: Transaction) -> set[str]:
    """Return the reasons for which a gate, to all or to a project, is closed and not half-open."""
    shut = select(Gate.reason).where(Gate.half_open_at.is_(None)).distinct()
    return set(await tx.scalars(shut))


async def of_projects(tx: Transaction) -> dict[str, int]:
    """Return to how many projects a gate is closed that is not closed to all, by reason."""
    own = select(Gate.reason, func.count()).where(Gate.project_id.is_not(None))
    rows = await tx.execute(own.group_by(Gate.reason))
    return {row[0]: row[1] for row in rows}


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


async def passage(tx: Reader) -> Passage:
    """Tell what may pass."""
    (row,) = await tx.read(_PASSAGE, {})
    return told(row)


def told(row: Row) -> Passage:
    """Read the row of `PASSAGE`."""
    way: Way = "open" if row["probes"] is None else "probe" if row["probes"] else "closed"
    return Passage(way, row["but_jobs"] or (), row["but_projects"] or (), gated=row["gated"])


async def send_probes(tx: Writer, calls: Sequence[UUID]) -> list[UUID]:
    """Remember which of these jobs were let through half-open gates; returns them.

    Nothing else passes until their outcomes are judged.
    """
    if not calls:
        return []
    rows = await tx.run(_SEND_PROBES, {"calls": list(calls)})
    return list(dict.fromkeys(row["probe_id"] for row in rows))


async def half_open(
    tx: Transaction,
    reason: WaitingReason,
    *,
    shortest: timedelta = _AT_ONCE,
    projects: bool = False,
) -> bool:
    """Half-open a gate, so that one job tries it; return False when it is too early, or the gate is open.

    The wait after each refused probe is as long as the gate had been closed, up to five minutes, and
    never less than `shortest`. Gates to single projects are tried beside that to all, or they alone.
    """
    closed_for = func.least(Gate.checked_at - Gate.closed_at, literal(_LONGEST))
    patience = func.greatest(closed_for, literal(shortest))
    due = await tx.scalars(
        select(Gate.id).where(
            Gate.reason == reason,
            Gate.half_open_at.is_(None),
            func.now() >= Gate.checked_at + patience,
            *([Gate.project_id.is_not(None)] if projects else []),
        )
    )
    opened = 0
    for gate_id in due.all():
        async with alone(tx, gate_id):
            shut_ = update(Gate).where(Gate.id == gate_id, Gate.half_open_at.is_(None))
            tried = await tx.scalars(shut_.values(half_open_at=func.now()).returning(Gate))
            for gate in tried.all():
                await _without_probe(tx, gate)
                opened += 1
    if opened:
        tx.ring("jobs")
    return opened > 0


@asynccontextmanager
async def alone(tx: Transaction, gate_id: int) -> AsyncIterator[None]:
    """Undo what is done of one gate where Postgres refuses it, and say so: it stops no other gate."""
    try:
        async with tx.begin_nested():
            yield
    except DBAPIError as failed:
        if absence(failed.orig or failed, lost=failed.connection_invalidated) is not None:
            raise
        log.error("gate.not_moved", gate=gate_id, reason=str(failed.orig).partition("\n")[0])  # noqa: TRY400 - said


async def standing(tx: Transaction) -> list[Gate]:
    """Return every closed or half-open gate, the oldest first."""
    return list(await tx.scalars(select(Gate).order_by(Gate.closed_at, Gate.id)))


async def probe(tx: Transaction, reason: WaitingReason) -> int:
    """Half-open the gates of a reason now, whatever the wait; returns how many were closed."""
    shut_ = update(Gate).where(Gate.reason == reason, Gate.half_open_at.is_(None))
    opened = await tx.scalars(shut_.values(half_open_at=func.now(), probed=[]).returning(Gate.id))
    tx.ring("jobs")
    return len(opened.all())


async def half_opened(tx: Transaction) -> list[Gate]:
    """Return the half-open gates whose probes may have an outcome, and take them."""
    half = select(Gate).where(Gate.half_open_at.is_not(None)).order_by(Gate.half_open_at)
    return list(await tx.scalars(half.limit(_LOOKED_AT).with_for_update(skip_locked=True)))


async def judge(
    tx: Transaction, gate: Gate, proofs: Sequence[str], refusals: Sequence[str]
) -> GateState:
    """Open a half-open gate, or close it again, after what its probe came to; return which.

    `proofs` are outcomes that open it, `refusals` those that close it again. Anything else (a message that
    was lost, a job that was canceled) says nothing about the trouble: the next job is the probe.
    """
    if gate.probe_id is None:
        return await _without_probe(tx, gate)
    if await _under_way(tx, gate.probe_id):
        return "half_open"
    attempt = await tx.scalar(
        select(Attempt)
        .where(Attempt.job_id == gate.probe_id, Attempt.sent_at >= gate.half_open_at)
        .order_by(Attempt.number.desc())
        .limit(1)
    )
    outcome = None if attempt is None else _said(attempt)
    if outcome in proofs:
        await tx.execute(delete(Gate).where(Gate.id == gate.id))
        tx.ring("jobs")
        return "open"
    probed = [*gate.probed, *([] if attempt is None else [gate.probe_id])]
    tx.ring("jobs")
    if outcome not in refusals:
        return await _set(tx, gate, "half_open", probe_id=None, probed=probed)
    refused_by = await tx.scalar(select(Job.project_id).where(Job.id == gate.probe_id))
    first = gate.project_id is None and gate.refused_by is None
    if first and await _somebody_else(tx, gate, probed, refused_by):
        return await _set(
            tx, gate, "half_open", probe_id=None, probed=probed, refused_by=refused_by
        )
    return await _set(tx, gate, "closed", probe_id=None, probed=probed, **_CLOSED)


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


async def _without_probe(tx: Transaction, gate: Gate) -> GateState:
    """Let some job be the probe: when all have been, or none comes, they begin anew."""
    late = await tx.scalar(select(func.now() - literal(_TURN) > gate.half_open_at))
    if not late and await _somebody_else(tx, gate, gate.probed, gate.refused_by):
        return "half_open"
    if gate.refused_by is not None:
        return await _set(tx, gate, "closed", **_CLOSED)
    if gate.probed:
        tx.ring("jobs")
        return await _set(tx, gate, "half_open", probed=[])
    return "half_open"


async def _set(tx: Transaction, gate: Gate, standing_: GateState, **values: object) -> GateState:
    await tx.execute(update(Gate).where(Gate.id == gate.id).values(**values))
    return standing_


async def _somebody_else(
    tx: Transaction, gate: Gate, probed: Sequence[UUID], refused_by: UUID | None
) -> bool:
    """Return whether a job is due that was not the probe, of another project than refused it just now."""
    asked = {"project": gate.project_id, "but_jobs": list(probed), "but_project": refused_by}
    return await tx.scalar(_SOMEBODY_ELSE, asked) is not None


def _said(attempt: Attempt) -> str | None:
    """Return what the provider's answer, or its silence, came to; None for what was not its doing."""
    ours = attempt.outcome == "refused" and attempt.http_status is None  # a reference that is gone
    # An edge refuses a request before anybody behind it has seen it.
    at_the_edge = attempt.outcome == "refused" and attempt.http_status == _FORBIDDEN
    code = (attempt.error or {}).get("code")
    return None if ours or at_the_edge or code in _SAYS_NOTHING else attempt.outcome


async def _under_way(tx: Transaction, job_id: UUID) -> bool:
    """Return whether the probe's call is still to be made, or to be answered.

    In phase `keep` it was answered: the image was there.
    """
    going = Job.status.in_(IN_FLIGHT) & (Job.phase == "call")
    return await tx.scalar(select(Job.id).where(Job.id == job_id, going)) is not None


# What is closed to all, and what a probe may be sent through: one row, whether there is any or none.
PASSAGE = """
    SELECT count(*) > 0 AS gated,
           bool_and(half_open_at IS NOT NULL AND probe_id IS NULL)
               FILTER (WHERE project_id IS NULL) AS probes,
           array_agg(DISTINCT job) FILTER (WHERE job IS NOT NULL) AS but_jobs,
           array_agg(DISTINCT refused_by) FILTER (WHERE project_id IS NULL AND refused_by IS NOT NULL)
               AS but_projects
      FROM gates LEFT JOIN LATERAL unnest(probed) AS job ON true
     WHERE project_id IS NULL OR half_open_at IS NOT NULL"""

_PASSAGE = prepared(text(PASSAGE))

_SEND_PROBES = prepared(
    text("""
    UPDATE gates SET probe_id = call.id, half_open_at = now()
      FROM (SELECT id, project_id FROM jobs WHERE id = ANY (:calls)) call
     WHERE gates.half_open_at IS NOT NULL AND gates.probe_id IS NULL
       AND (gates.project_id IS NULL OR gates.project_id = call.project_id)
       AND NOT (gates.project_id IS NULL AND EXISTS (
           SELECT FROM gates shut WHERE shut.project_id IS NULL AND shut.half_open_at IS NULL))
    RETURNING gates.probe_id
""")
)

_SOMEBODY_ELSE = text("""
    SELECT id FROM jobs
     WHERE status = 'queued' AND phase = 'call' AND run_after <= now()
       AND (CAST(:project AS uuid) IS NULL OR project_id = :project)
       AND (CAST(:but_project AS uuid) IS NULL OR project_id <> :but_project)
       AND id <> ALL (CAST(:but_jobs AS uuid[])) AND queue_expires_at > now()
     LIMIT 1
""")
