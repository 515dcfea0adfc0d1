"""Keeps retention: old jobs, images and deliveries go, and then the bytes that nobody refers to."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
from prometheus_client import Counter

from models.coordination import duties
from models.images import collector, fetches, files, records
from models.images.collector import Swept
from models.images.storage import Store
from models.images.store_errors import StoreUnavailable
from models.jobs import actions, retention
from models.money import statement
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import all_at_once, each_alone

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_REMOVED = Counter("darkroom_removed", "What retention and erasure have removed", ["what"])
_ROWS = 200  # of a batch: a transaction of some hundred milliseconds, with all that cascades
_BLOBS = 50
_FAILURES = 3  # blobs in a row that cannot be deleted
_LATEST = 3  # images by which a store is known: one may have been lost
# To delete them: nobody else takes them in twice as long.
_TIME = collector.LEASE.total_seconds() / 2


async def run(dispatcher: Dispatcher, store: Store) -> bool:
    """Remove one batch of each kind; True while there is more of any."""
    async with dispatcher.database.transaction() as tx:
        if not await duties.claim(tx, "retain"):
            return False
    jobs_kept, told_kept = dispatcher.settings.job_retention, dispatcher.settings.delivery_retention
    removed = {
        "images": await all_at_once(
            dispatcher,
            "images",
            lambda tx, only: retention.expire_images(tx, _ROWS, only),
            lambda tx: retention.expired_images(tx, _ROWS),
        ),
        "jobs": await all_at_once(
            dispatcher,
            "jobs",
            lambda tx, only: retention.remove_jobs(tx, jobs_kept, _ROWS, only),
            lambda tx: retention.old_jobs(tx, jobs_kept, _ROWS),
        ),
        "events": await all_at_once(
            dispatcher,
            "events",
            lambda tx, only: retention.remove_deliveries(tx, told_kept, _ROWS, only),
            lambda tx: retention.old_events(tx, told_kept, _ROWS),
        ),
    }
    done: dict[str, object] = {**removed, **await _forget(dispatcher)}
    for what, count in done.items():
        _note(what, count)
    return await _delete_blobs(dispatcher, store) or _ROWS in done.values()


async def _forget(dispatcher: Dispatcher) -> dict[str, object]:
    """Delete one batch of each thing that no row fails at by itself; return how many of what."""
    kept = dispatcher.settings.job_retention
    steps: dict[str, Callable[..., Awaitable[int]]] = {
        "remnants": collector.forget,
        "actions": partial(actions.forget, kept=kept),
        "batches": partial(retention.remove_batches, kept=kept),
        "account_lines": partial(statement.forget, kept=kept),
        "files": files.expire,
        "fetches": fetches.forget,
    }
    counts = await each_alone(
        dispatcher, "retain", *(partial(each, limit=_ROWS) for each in steps.values())
    )
    return dict(zip(steps, counts, strict=True))


async def _delete_blobs(dispatcher: Dispatcher, store: Store) -> bool:
    """Delete one batch of blobs that no job and no file refers to; the rows say so before, and after."""
    begun = time.monotonic()
    async with dispatcher.database.transaction() as tx:
        swept, looked_at = await collector.sweep(tx, _BLOBS)
    deleted = []
    if swept and await _is_the_workers(dispatcher, store):
        deleted = await _delete(store, swept, begun + _TIME)
    if deleted:
        async with dispatcher.database.transaction() as tx:
            await collector.gone(tx, deleted)
    _note("blobs", len(deleted))
    # Those that could not be deleted come again when their lease ends: a dead store is not hammered.
    return looked_at == _BLOBS and len(deleted) == len(swept)


async def _is_the_workers(dispatcher: Dispatcher, store: Store) -> bool:
    """Return whether workers keep their images here: any other store deletes nothing, and says it did."""
    async with dispatcher.database.transaction() as tx:
        kept = await records.latest(tx, _LATEST)
    try:
        found = [await store.size(f"{project}/{digest}") is not None for project, digest in kept]
    except StoreUnavailable as away:
        log.warning("retention.store_away", reason=str(away))
        return False
    if kept and not any(found):
        log.error("retention.other_store", reason=f"none of the last {len(kept)} images is in it")
        return False
    return True


async def _delete(store: Store, swept: Sequence[Swept], until: float) -> list[Swept]:
    """Delete as many as can be while they are surely ours: afterwards others may bring them again.

    One that cannot be deleted stops none; several in a row, whichever they are, and the store is away.
    """
    deleted, failures = list[Swept](), 0
    for each in random.sample(swept, len(swept)):
        left = until - time.monotonic()
        if left <= 0 or failures >= _FAILURES:
            break
        try:
            async with asyncio.timeout(left):
                await store.remove(str(each.project_id), each.sha256)
        except (StoreUnavailable, TimeoutError) as away:
            failures += 1
            log.warning(
                "retention.blob_stays", blob=f"{each.project_id}/{each.sha256}", reason=str(away)
            )
            continue
        failures = 0
        deleted.append(each)
    return deleted


def _note(what: str, count: object) -> None:
    if isinstance(count, int) and count:
        _REMOVED.labels(what).inc(count)
        log.info("retention.removed", what=what, count=count)
