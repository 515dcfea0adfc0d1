"""Releases queued jobs, in batches, as far as the limits and the workers' free slots allow.

This is where shares between projects and the discovered limit of the provider decide too: the limit is
an argument of `workers.free_to_generate`, the order is that of `jobs.release`.
"""

from collections.abc import Sequence

import structlog

from models import duties, gates, ids, jobs, wallet, workers
from models.db import Transaction
from models.jobs import Release
from models.settings import Settings
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import publish, wait_for_broker

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 200  # messages of one publish: Redis takes them in some 50 ms


async def turn(desk: Desk) -> bool:
    """Release one batch; True when there may be more to release right away."""
    settings = desk.settings
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "release"):
            return False
        limit, room = settings.provider_limit, await wallet.room(tx)
        free = await _free(tx, settings, limit)
        payable = free if room is None else await _free(tx, settings, min(room, limit))
        slots = min(free, _BATCH)
        released = await _release(tx, settings, slots, payable)
    if not released:
        return False
    sent = await publish(
        desk.celery, [("generate", [str(each.job_id), each.fence]) for each in released]
    )
    for each in released[:sent]:
        log.info("job.released", job_id=ids.text(ids.JOB, each.job_id), fence=each.fence)
    if sent < len(released):
        await _hand_back(desk, released[sent:])
        return False
    return len(released) == slots < free


async def _free(tx: Transaction, settings: Settings, limit: int) -> int:
    return await workers.free_to_generate(tx, seen=settings.worker_seen, provider_limit=limit)


async def _release(tx: Transaction, settings: Settings, slots: int, payable: int) -> list[Release]:
    """Release what is paid already, and as many calls as the gates let pass and the wallet pays for."""
    passage = await gates.passage(tx)
    lease, typical_call = settings.lease_release, settings.typical_call
    unbound = passage == "open" and payable >= slots
    released = await jobs.release(tx, slots, lease=lease, typical_call=typical_call, calls=unbound)
    calls = {"open": payable, "probe": 1, "closed": 0}[passage]
    if unbound or calls <= 0 or len(released) >= slots:
        return released
    bound = await jobs.release(
        tx, min(calls, slots - len(released)), lease=lease, typical_call=typical_call
    )
    if passage == "probe" and bound:
        log.info("gate.probe", job_id=ids.text(ids.JOB, bound[0].job_id))
        await gates.send_probe(tx, bound[0].job_id)
    return released + bound


async def _hand_back(desk: Desk, unsent: Sequence[Release]) -> None:
    """Put back what could not be published, and release nothing until Redis answers again."""
    async with desk.database.transaction() as tx:
        await jobs.hand_back(tx, unsent)
    await wait_for_broker(desk.celery)
