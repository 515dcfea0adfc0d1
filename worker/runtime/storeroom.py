"""The gate `storage`: while our own store takes no images, no call is paid.

A worker whose store has refused an image tries it with a probe object, and closes the gate for everybody
when that is refused as well: so it is not the image's fault, nor its project's. What has failed keeps its
place until then, so that no call begins in it. From then on every worker tries its store; the first that
can write, read and delete opens the gate, and what is paid and not kept is due at once.
"""

import asyncio
from datetime import timedelta
from itertools import count

import structlog

from models import jobs
from models.errors import Unavailable
from models.images.store_errors import StoreUnavailable
from models.jobs import Dispatch
from models.provider import gates
from worker.runtime import metrics
from worker.runtime.context import Context
from worker.runtime.persistence import persist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_WAIT_FIRST, _WAIT_LONGEST = timedelta(seconds=0.5), timedelta(seconds=10)
_DOUBLINGS = 10  # beyond the longest wait


async def doubt(context: Context, why: str) -> None:
    """Try the store, which has refused an image, and close the gate when it takes no probe object either.

    Callers that come while it is tried share the outcome.
    """
    tries = context.store_tries
    async with context.trying_store:
        if context.store_tries != tries:
            return
        trouble = await _trouble(context)
        if trouble is not None:
            log.warning("storage.refuses", reason=trouble, image=why)
            await persist(context, lambda tx: gates.close(tx, "storage", trouble))
        context.store_tries += 1


async def returned(context: Context, dispatch: Dispatch) -> bool:
    """Hand back a call that may not begin, because the gate was closed after its dispatch."""
    async with context.database.transaction() as tx:
        if "storage" not in await gates.closed(tx) or not await jobs.hand_back(tx, [dispatch]):
            return False
    log.info("job.handed_back", fence=dispatch.fence)
    return True


async def wait_until_it_takes(context: Context) -> None:
    """Wait until the store takes a probe object, saying what it says; then open a closed gate."""
    for tries in count():
        trouble = await _trouble(context)
        if trouble is None:
            break
        wait = min(_WAIT_FIRST * (1 << min(tries, _DOUBLINGS)), _WAIT_LONGEST).total_seconds()
        context.waits_for = f"its store to take a probe object: {trouble}"
        log.warning("waiting.storage", reason=trouble, tries=tries + 1, again_in=wait)
        await asyncio.sleep(wait)
    await open_gate(context)


async def watch(context: Context) -> None:
    """Try the store as long as the gate is closed, until cancelled."""
    while True:
        await asyncio.sleep(context.settings.gate_probe.total_seconds())
        try:
            await probe(context)
        except Unavailable as away:
            log.warning("storage.not_checked", reason=away.detail)


async def probe(context: Context) -> None:
    """Open the gate when it is closed and the store takes a probe object."""
    async with context.database.transaction() as tx:
        if "storage" not in await gates.closed(tx):
            return
    trouble = await _trouble(context)
    if trouble is None:
        await open_gate(context)
    else:
        log.warning("storage.still_refuses", reason=trouble)


async def open_gate(context: Context) -> None:
    """Open the gate, and let what is paid and not kept be tried again at once."""
    async with context.database.transaction() as tx:
        if not await gates.open_(tx, "storage"):
            return
        due = await jobs.keep_at_once(tx)
    log.info("storage.takes_again", kept_at_once=due)


async def _trouble(context: Context) -> str | None:
    """Write, read and delete a probe object; returns None, or in words what went wrong."""
    try:
        await context.store.check()
    except StoreUnavailable as refused:
        metrics.STORE_REFUSED.inc()
        return str(refused)
    return None
