"""Releases queued jobs, in batches, as far as the workers' free slots, limit, wallet and gates allow.

How many is decided here; which of them, with the shares of projects and their caps, in `jobs.release`.
"""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from models import ids, jobs
from models.coordination import duties, workers
from models.coordination.workers import Room
from models.jobs import Release
from models.money import wallet
from models.platform.db import Transaction
from models.provider import gates, limits
from models.settings import Settings
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import publish

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 200  # messages of one publish: Redis takes them in some 50 ms


async def run(desk: Desk) -> bool | timedelta:
    """Release one batch; True when there may be more to release right away, or in how long to try Redis."""
    settings = desk.settings
    if (left := desk.patience.left) is not None:
        return left
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "release"):
            return False
        room = await workers.room(tx, seen=settings.worker_seen)
        slots = min(room.slots, desk.patience.batch(_BATCH))
        released = await _release(tx, settings, slots, room)
    if not released:
        return False
    sent = await publish(
        desk.celery,
        desk.patience,
        [("generate", [str(each.job_id), each.fence]) for each in released],
    )
    for each in released[:sent]:
        log.info("job.released", job_id=ids.text(ids.JOB, each.job_id), fence=each.fence)
    if sent < len(released):
        await _hand_back(desk, released[sent:])
        return False
    return len(released) == slots < room.slots


async def _release(tx: Transaction, settings: Settings, slots: int, room: Room) -> list[Release]:
    """Release what is paid already, and as many calls as limit, wallet and gates let pass."""
    if slots <= 0:
        return []
    limit = await limits.calls(tx, settings)
    passage = await gates.passage(tx)
    released = await jobs.release(
        tx,
        slots,
        calls=await _calls(tx, room, limit, passage),
        free=room.slots,
        but_jobs=passage.but_jobs,
        but_projects=passage.but_projects,
        lease=settings.lease_release,
        typical_call=settings.typical_call,
    )
    if not (calls := [each for each in released if not each.paid]):
        return released
    # A gate may have closed between the look and the choice, and given back the very job that was chosen.
    passage = await gates.passage(tx)
    if passage.way == "closed":
        await jobs.hand_back(tx, calls)
        return [each for each in released if each.paid]
    for probe in await gates.send_probes(
        tx, [each.job_id for each in calls] if passage.gated else []
    ):
        log.info("gate.probe", job_id=ids.text(ids.JOB, probe))
    return released


async def _calls(tx: Transaction, room: Room, limit: int, passage: gates.Passage) -> int:
    match passage.way:
        case "closed":
            return 0
        case "probe":
            return min(1, room.within(limit))
        case "open":
            paid_for = await wallet.room(tx)
            return room.within(limit if paid_for is None else min(paid_for, limit))


async def _hand_back(desk: Desk, unsent: Sequence[Release]) -> None:
    """Put back what could not be published."""
    async with desk.database.transaction() as tx:
        await jobs.hand_back(tx, unsent)
