"""Gates: while one is closed no call is released, for anybody; it moves no job.

closed     No call passes. Whoever owns the reason says when it may be tried again.
half-open  One job at a time may pass, the probe: a call whose outcome says whether the trouble is over.
           A probe that is refused closes the gate again, for as long as it had been closed by then.
(no row)   Open.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from models.db import Transaction
from models.schema import Attempt, Gate, Job
from models.states import WaitingReason

_LONGEST = timedelta(minutes=5)  # a key that was put right works again after at most this long
_AT_ONCE = timedelta(0)
# A limit that is reached, a worker that died, our own store: they say nothing about any trouble there.
_SAYS_NOTHING = frozenset({"slow_down", "worker_lost", "storage"})

Passage = Literal["open", "probe", "closed"]
Standing = Literal["open", "closed", "half_open"]


async def closed(tx: Transaction) -> list[str]:
    """Give why calls may not be released freely at present; an empty list when all gates are open."""
    return list(await tx.scalars(select(Gate.reason).order_by(Gate.closed_at)))


def shut(reason: WaitingReason) -> ColumnElement[bool]:
    """Tell in a statement whether a gate is closed."""
    return select(Gate.reason).where(Gate.reason == reason).exists()


async def close(tx: Transaction, reason: WaitingReason, detail: str) -> None:
    """Close a gate, saying why; one that is closed already stays as it is."""
    row = insert(Gate).values(reason=reason, detail=detail)
    await tx.execute(row.on_conflict_do_nothing())


async def passage(tx: Transaction) -> Passage:
    """Tell what may pass: every call, one as a probe, or none."""
    rows = (await tx.execute(select(Gate.half_open_at, Gate.probe_id))).all()
    if not rows:
        return "open"
    waiting = all(row.half_open_at is not None and row.probe_id is None for row in rows)
    return "probe" if waiting else "closed"


async def send_probe(tx: Transaction, job_id: UUID) -> None:
    """Remember which job was let through; nothing else passes until its outcome is judged."""
    await tx.execute(update(Gate).values(probe_id=job_id, half_open_at=func.now()))


async def half_open(
    tx: Transaction, reason: WaitingReason, *, shortest: timedelta = _AT_ONCE
) -> bool:
    """Let one job try whether it is over; False when it is too early, or the gate is not closed.

    The wait after each refused probe is as long as the gate had been closed, up to five minutes, and
    never less than `shortest`.
    """
    closed_for = func.least(Gate.checked_at - Gate.closed_at, literal(_LONGEST))
    patience = func.greatest(closed_for, literal(shortest))
    tried = await tx.scalar(
        update(Gate)
        .where(
            Gate.reason == reason,
            Gate.half_open_at.is_(None),
            func.now() >= Gate.checked_at + patience,
        )
        .values(half_open_at=func.now())
        .returning(Gate.reason)
    )
    if tried is not None:
        tx.ring("jobs")
    return tried is not None


async def judge(
    tx: Transaction, reason: WaitingReason, proofs: Sequence[str], refusals: Sequence[str]
) -> Standing:
    """Say where a gate stands after what its probe came to: `proofs` open it, `refusals` close it again.

    Both are outcomes. Anything else (a message that was lost, a job that was canceled) says nothing about
    the trouble: the next job is the probe.
    """
    gate = await tx.scalar(select(Gate).where(Gate.reason == reason).with_for_update())
    if gate is None:
        return "open"
    if gate.half_open_at is None:
        return "closed"
    if gate.probe_id is None or await _under_way(tx, gate.probe_id):
        return "half_open"
    attempt = await tx.scalar(
        select(Attempt)
        .where(Attempt.job_id == gate.probe_id, Attempt.sent_at >= gate.half_open_at)
        .order_by(Attempt.number.desc())
        .limit(1)
    )
    outcome = None if attempt is None else _said(attempt)
    if outcome in proofs:
        await open_(tx, reason)
        return "open"
    refused = outcome in refusals
    values = {"half_open_at": None, "checked_at": func.now()} if refused else {}
    await tx.execute(update(Gate).where(Gate.reason == reason).values(probe_id=None, **values))
    tx.ring("jobs")
    return "closed" if refused else "half_open"


async def open_(tx: Transaction, reason: WaitingReason) -> bool:
    """Open a gate; False when it was open."""
    opened = await tx.scalar(delete(Gate).where(Gate.reason == reason).returning(Gate.reason))
    if opened is not None:
        tx.ring("jobs")
    return opened is not None


def _said(attempt: Attempt) -> str | None:
    """Give what the provider's answer, or its silence, came to; None for what was not its doing."""
    ours = attempt.outcome == "refused" and attempt.http_status is None  # a reference that is gone
    code = (attempt.error or {}).get("code")
    return None if ours or code in _SAYS_NOTHING else attempt.outcome


async def _under_way(tx: Transaction, job_id: UUID) -> bool:
    """Tell whether the probe's call is still to be made, or to be answered.

    In phase `keep` it was answered: the image was there.
    """
    going = Job.status.in_(("released", "running")) & (Job.phase == "call")
    return await tx.scalar(select(Job.id).where(Job.id == job_id, going)) is not None
