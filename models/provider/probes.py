"""Probes: one job passes through a half-open gate, and its outcome opens the gate or closes it again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import delete, func, literal, select, text, update
from sqlalchemy.exc import DBAPIError

from models.platform.db import Transaction
from models.platform.db.absences import absence
from models.platform.db.failures import said
from models.platform.db.statements import Writer, prepared
from models.schema import Attempt, Gate, Job
from models.states import IN_FLIGHT, JOB_READY, WaitingReason

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
        log.error("gate.not_moved", gate=gate_id, reason=said(failed))  # noqa: TRY400 - the reason says it


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

_SOMEBODY_ELSE = text(f"""
    SELECT id FROM jobs
     WHERE {JOB_READY} AND run_after <= now()
       AND (CAST(:project AS uuid) IS NULL OR project_id = :project)
       AND (CAST(:but_project AS uuid) IS NULL OR project_id <> :but_project)
       AND id <> ALL (CAST(:but_jobs AS uuid[])) AND queue_expires_at > now()
     LIMIT 1
""")  # noqa: S608 - a constant of ours
