"""queued → released: the dispatcher's choice of what may run next, and the way back."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from models import ids
from models.coordination import duties
from models.jobs.changes.moving import take_back
from models.jobs.queue import sharing
from models.platform.db import Transaction
from models.platform.db.direct import Direct, DirectTransaction
from models.platform.db.statements import Row, Writer
from models.provider import probes
from models.provider.gates import Passage

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Jobs that are looked at, over all lines, for those that met a full key; and how often in one dispatch.
# A long line of one key is so out of the way after a few turns, and no turn takes long.
_LOOK_AT, _LOOKS = 1_000, 4
_NO_PROBES: Mapping[str, object] = {"but_jobs": [], "but_projects": []}


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One job handed to Celery: the fence guards every arrow from here on. `paid`: only to be kept."""

    job_id: UUID
    fence: int
    paid: bool = False
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What binds a dispatch besides its slots.

    `calls` are the paid calls that may be made; None: as many as there are slots. `free` are the places
    there are, where that is more than one dispatch fills: shares are of these. Without `paid` it is known
    that nothing that is paid waits. `passage` is what was seen to pass the gates; None: whatever they say.
    """

    calls: int | None = None
    free: int | None = None
    paid: bool = True
    passage: Passage | None = None


_UNBOUND = Bounds()


def claim_dispatch(direct: Direct) -> AbstractAsyncContextManager[DirectTransaction | None]:
    """Open a transaction for a dispatch that is `claimed`; None when another dispatcher is at it now."""
    return duties.claimed(direct, "release", also=sharing.TRUST_INDEXES)


async def dispatch(
    tx: Writer,
    slots: int,
    *,
    lease: timedelta,
    typical_call: timedelta,
    bounds: Bounds = _UNBOUND,
    claimed: bool = False,
) -> list[Dispatch]:
    """Dispatch at most `slots` jobs within `bounds`. Their messages follow the commit.

    First what is paid already, by when it was due: a job in phase `keep` never expires, and waits for no
    cap. Then calls: a turn for each project that waits, inside a project by rank, and never more than its
    cap, or that of a `concurrency_key`, allows. What is past its queue ttl, or could not end by its
    deadline, is left to `expire`; what is paused stays. Those of a project whose gate is closed stay too,
    but for one, its probe, when it is half-open; and what has been a probe (`bounds.passage`). Where a gate
    to all has closed since `bounds.passage` was seen, no call is dispatched. Unless this one is `claimed`,
    it waits for another one to end.
    """
    if slots <= 0:
        return []
    if not claimed:
        await tx.run(sharing.PREPARE, {})
    rows = await tx.run(sharing.PAID, {"slots": slots, "lease": lease}) if bounds.paid else []
    dispatched = [_dispatch(row, paid=True) for row in rows]
    free = max(bounds.free or slots, slots)
    left, free = (most - len(dispatched) for most in (slots, free))
    if bounds.calls is not None:
        left, free = min(bounds.calls, left), min(bounds.calls, free)
    terms = {"lease": lease, "typical_call": typical_call, **_through(bounds.passage)}
    return dispatched + await _dispatch_calls(tx, left, free, terms)


async def _dispatch_calls(
    tx: Writer, left: int, free: int, terms: Mapping[str, object]
) -> list[Dispatch]:
    """Dispatch at most `left` calls, whose shares are of `free` places; look again where keys were full."""
    dispatched: list[Dispatch] = []
    for _ in range(_LOOKS):
        if left <= 0:
            break
        rows = await tx.run(sharing.CALLS, {"calls": left, "free": free, **terms})
        found = [_dispatch(row) for row in rows if row["id"] is not None]
        dispatched += found
        if not terms["whatever"]:
            await _note_probes(tx, [row["id"] for row in rows if row["gated"]])
        left, free = left - len(found), free - len(found)
        full = [(row["project_id"], row["model"]) for row in rows if row["id"] is None]
        if not await _park(tx, full):
            break
    return dispatched


def _dispatch(row: Row, *, paid: bool = False) -> Dispatch:
    return Dispatch(row["id"], row["fence"], paid=paid, traceparent=row["traceparent"])


async def next_to_dispatch(tx: Writer, slots: int, *, typical_call: timedelta) -> list[UUID]:
    """Return the jobs that a dispatch would come to first, whatever gates are closed; none is moved."""
    await tx.run(sharing.PREPARE, {})
    paid = await tx.run(sharing.PAID_FIRST, {"slots": slots})
    asked = {"calls": slots, "free": slots, "typical_call": typical_call, **_NO_PROBES}
    return [row["id"] for row in (*paid, *await tx.run(sharing.CALLS_FIRST, asked))]


async def try_dispatching(tx: Transaction, job_id: UUID) -> bool:
    """Raise what Postgres has against dispatching a job, else return True; nothing is changed."""
    async with tx.undone():
        await tx.execute(sharing.TRY, {"job": job_id, "lease": timedelta(0)})
    return True


def _through(passage: Passage | None) -> dict[str, object]:
    """Return what lets calls pass the gates, as parameters of `sharing.CALLS`."""
    if passage is None:
        return {**_NO_PROBES, "whatever": True, "probing": False}
    probed = {"but_jobs": list(passage.but_jobs), "but_projects": list(passage.but_projects)}
    return {**probed, "whatever": False, "probing": passage.way == "probe"}


async def _note_probes(tx: Writer, calls: Sequence[UUID]) -> None:
    """Remember which of these calls passed half-open gates, and say so."""
    for probe in await probes.send_probes(tx, calls):
        log.info("gate.probe", job_id=ids.text(ids.JOB, probe))


async def _park(tx: Writer, lines: Sequence[tuple[UUID, str]]) -> int:
    """Take jobs whose key is full out of these lines of a project and model; returns how many."""
    if not lines:
        return 0
    projects, models = [project for project, _ in lines], [model for _, model in lines]
    look_at = max(_LOOK_AT // len(lines), 10)
    asked = {"projects": projects, "models": models, "look_at": look_at}
    return len(await tx.run(sharing.PARK, asked))


async def hand_back(tx: Writer, dispatches: Sequence[Dispatch]) -> int:
    """Released → queued: the message was not published, or a draining worker gives it back."""
    return await take_back(tx, [(each.job_id, each.fence) for each in dispatches])
