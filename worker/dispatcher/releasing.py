"""Releases queued jobs, in batches, as far as the workers' free slots, limit, wallet and gates allow.

How many is decided here; which of them, with the shares of projects and their caps, in `jobs.release`.
"""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from models import duties, gates, ids, jobs, limits, wallet, workers
from models.db import Transaction
from models.jobs import Release
from models.settings import Settings
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import publish

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 200  # messages of one publish: Redis takes them in some 50 ms


async def turn(desk: Desk) -> bool | timedelta:
    """Release one batch; True when there may be more to release right away, or in how long to try Redis."""
    settings = desk.settings
    if (left := desk.patience.left) is not None:
        return left
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "release"):
            return False
        free = await _free(tx, settings, None)
        slots = min(free, desk.patience.batch(_BATCH))
        released = await _release(tx, settings, slots, free)
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
    return len(released) == slots < free


async def _free(tx: Transaction, settings: Settings, limit: int | None) -> int:
    return await workers.free_to_generate(tx, seen=settings.worker_seen, provider_limit=limit)


async def _release(tx: Transaction, settings: Settings, slots: int, free: int) -> list[Release]:
    """Release what is paid already, and as many calls as limit, wallet and gates let pass."""
    if slots <= 0:
        return []
    limit = await limits.calls(tx, settings)
    passage = await gates.passage(tx)
    released = await jobs.release(
        tx,
        slots,
        calls=await _calls(tx, settings, limit, passage),
        free=free,
        but_jobs=passage.but_jobs,
        but_projects=passage.but_projects,
        lease=settings.lease_release,
        typical_call=settings.typical_call,
    )
    # A gate may have closed between the look and the choice, and given back the very job that was chosen.
    if passage.way != "closed" and (await gates.passage(tx)).way == "closed":
        await jobs.hand_back(tx, [each for each in released if not each.paid])
        released = [each for each in released if each.paid]
    calls = [each.job_id for each in released if not each.paid]
    for probe in await gates.send_probes(tx, calls) if calls else ():
        log.info("gate.probe", job_id=ids.text(ids.JOB, probe))
    return released


async def _calls(tx: Transaction, settings: Settings, limit: int, passage: gates.Passage) -> int:
    match passage.way:
        case "closed":
            return 0
        case "probe":
            return min(1, await _free(tx, settings, limit))
        case "open":
            room = await wallet.room(tx)
            return await _free(tx, settings, limit if room is None else min(room, limit))


async def _hand_back(desk: Desk, unsent: Sequence[Release]) -> None:
    """Put back what could not be published."""
    async with desk.database.transaction() as tx:
        await jobs.hand_back(tx, unsent)
