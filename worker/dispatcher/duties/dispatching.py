"""Dispatches queued jobs, in batches, as far as the workers' free slots, limit, wallet and gates allow.

How many is decided here; which of them, with the shares of projects and their caps, in `jobs.dispatch`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from models import ids, jobs
from models.jobs import Dispatch, Outlook
from models.platform import tracing
from models.platform.db.statements import Writer
from models.settings import Settings
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.publishing import hand_out
from worker.dispatcher.rows import sifted

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 200  # jobs of one publish: one by one, to older workers, Redis takes them in some 50 ms


@dataclass
class Last:
    """Whether the last dispatch found anything to do: then the next one does not look first."""

    promising: bool = False


async def run(dispatcher: Dispatcher, last: Last) -> bool | timedelta:
    """Dispatch one batch; return True when there may be more at once, or in how long to try Redis."""
    if (left := dispatcher.patience.left) is not None:
        return left
    direct, settings = dispatcher.database.direct, dispatcher.settings
    if not last.promising and not (await jobs.look(direct, settings)).promising:
        return False
    first = partial(jobs.next_to_dispatch, slots=_BATCH, typical_call=settings.typical_call)
    made = await sifted(
        dispatcher, "release", partial(_turn, dispatcher), first, jobs.try_dispatching
    )
    if made is None:
        return True  # without what was set aside
    dispatched, slots, outlook = made
    last.promising = outlook is not None and outlook.promising
    if not dispatched or outlook is None:
        return False
    since = time.time_ns()
    things = [(each.job_id, each.fence) for each in dispatched]
    sent = await hand_out(
        dispatcher.celery, dispatcher.patience, "generate", things, outlook.capacity.fleet
    )
    for each in dispatched[:sent]:
        _tell(each, since)
    if sent < len(dispatched):
        await _hand_back(dispatcher, dispatched[sent:])
        return False
    return len(dispatched) == slots < outlook.capacity.slots


def _tell(dispatched: Dispatch, since: int) -> None:
    job_id = ids.text(ids.JOB, dispatched.job_id)
    with tracing.carry_on("dispatch", dispatched.traceparent, since=since) as step:
        step.note(job_id=job_id, fence=dispatched.fence)
        log.info("job.dispatched", job_id=job_id, fence=dispatched.fence)


async def _turn(dispatcher: Dispatcher) -> tuple[list[Dispatch], int, Outlook | None]:
    """Dispatch what may pass; returns it, how much it might have been, and what bound it."""
    settings = dispatcher.settings
    async with jobs.claim_dispatch(dispatcher.database.direct) as tx:
        if tx is None:
            return [], 0, None
        outlook = await jobs.look(tx, settings)
        slots = min(outlook.capacity.slots, dispatcher.patience.batch(_BATCH))
        dispatched = await _dispatch(tx, settings, slots, outlook) if outlook.promising else []
    return dispatched, slots, outlook


async def _dispatch(tx: Writer, settings: Settings, slots: int, outlook: Outlook) -> list[Dispatch]:
    """Dispatch what is paid already, and as many calls as may pass."""
    return await jobs.dispatch(
        tx,
        slots,
        bounds=jobs.Bounds(
            calls=await outlook.calls(tx, settings),
            free=outlook.capacity.slots,
            paid=outlook.paid_wait,
            passage=outlook.passage,
        ),
        lease=settings.lease_release,
        typical_call=settings.typical_call,
        claimed=True,
    )


async def _hand_back(dispatcher: Dispatcher, unsent: Sequence[Dispatch]) -> None:
    """Put back what could not be published."""
    async with dispatcher.database.direct.transaction() as tx:
        await jobs.hand_back(tx, unsent)
