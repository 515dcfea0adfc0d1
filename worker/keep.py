"""Keeping a paid image: its bytes are in the store before the job says `succeeded`.

From *receive* on nobody pays again. Whatever goes wrong here (the URL, the bytes, the store) puts the
job back in phase `keep`, to be fetched again from the provider's URL until that is dead, or has said for
minutes that it has no image. Bytes that came inline can be fetched from nowhere: the worker holds them
meanwhile.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import structlog

from models import jobs
from models.errors import Unavailable
from models.images import collector
from models.images.collector import Contested
from models.images.pictures import Broken
from models.images.store_errors import NotAnImage, StorageError, TooLarge, Truncated
from models.jobs import KeptImage, Start
from models.jobs.attempts import Answer, Ref
from models.platform import tracing
from models.platform.db import Transaction
from models.platform.db.failures import said
from models.schema import Job
from worker import grouping
from worker.backoff import delay
from worker.downloading import Denied, Gone, Missing, NoImage, NotKept, NotStored, opened
from worker.provider.outcomes import Image
from worker.runtime import metrics, storeroom
from worker.runtime.context import Context
from worker.runtime.persistence import book, persist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Put = tuple[KeptImage, Job | None]  # what is kept, and the job if that has ended it

_DECODED = 64_000_000  # pixels: more than a provider draws, and as many as a decoder has memory for
_BASE, _CAP = timedelta(seconds=1), timedelta(seconds=30)  # between two tries of what is held


async def receive_and_keep(context: Context, start: Start, image: Image, answer: Answer) -> None:
    """Book the image at once, and then keep its bytes: for the job, or as a late image."""
    received = await _receive(context, start.ref, start.project_id, answer)
    if received is None:
        log.info("image.not_booked")
        return
    use, ref = received
    context.running.add(ref)  # an adopted image goes on under a fresh fence
    try:
        await run(context, ref, start.project_id, image.url, image.b64, late_image=use == "late")
    finally:
        context.running.discard(ref)


@tracing.traced("receive")
async def _receive(
    context: Context, ref: Ref, project_id: UUID, answer: Answer
) -> tuple[Literal["keep", "late"], Ref] | None:
    lease, ttl = context.settings.lease_run, context.settings.keep_ttl
    with _no_matter("image.received_plainly"):
        if await grouping.receive(context, project_id, ref, answer):
            return "keep", ref
    receive = partial(jobs.receive, presenter=context.presenter, ref=ref, lease=lease, ttl=ttl)
    with _no_matter("image.received"):
        return await persist(context, partial(receive, answer=answer))
    # The image is worth more than its line in the ledger, which the provider's books can still tell.
    unpriced = replace(answer, charge="unknown", credits=None)
    return await book(context, ref, answer, partial(receive, answer=unpriced))


@contextmanager
def _no_matter(what: str) -> Iterator[None]:
    """Go on after whatever goes wrong: another way does the same, and finds out whether this one did."""
    try:
        yield
    except Unavailable:
        pass
    except Exception as failed:  # noqa: BLE001 - nothing may escape between an answer and its booking
        log.error("fast_way.failed", what=what, reason=said(failed))  # noqa: TRY400 - as in `book`


async def run(
    context: Context,
    ref: Ref,
    project_id: UUID,
    url: str | None,
    b64: str | None = None,
    *,
    late_image: bool = False,
) -> None:
    """Fetch, check and store an image, then end its job; or put it off, without paying again."""
    keep = partial(_keep, context, project_id, url, b64)
    put = partial(_put, context, ref, project_id, keep, late_image=late_image)
    try:
        kept, job = await (put() if b64 is None else _hold(context, ref, put))
    except NotKept as failed:
        _note("image.not_kept", failed)
        if not late_image:
            await _put_off(context, ref, failed, inline=b64 is not None)
        elif isinstance(failed, NoImage):
            await persist(context, lambda tx: jobs.pass_by(tx, ref))
        return
    if job is None:
        log.info("image.late" if late_image else "job.taken_over", fence=ref.fence)
        return
    context.running.discard(ref)  # its lease has ended with it
    ended = f"job.{job.status}"
    log.info(ended, credits=job.charged)
    context.thumbnails.ask(ref.job_id, project_id, kept.sha256)


async def _put_off(context: Context, ref: Ref, failed: NotKept, *, inline: bool) -> None:
    settings, message, waiting = context.settings, str(failed), failed.waiting
    patience = settings.keep_ttl
    if inline or isinstance(failed, Gone):
        patience = timedelta(0)
    elif isinstance(failed, Missing):
        patience = settings.image_missing
    elif isinstance(failed, Denied | NoImage):
        patience = settings.image_refused
    await persist(
        context,
        lambda tx: jobs.keep_later(
            tx, context.presenter, ref,
            ttl=settings.keep_ttl, patience=patience, waiting=waiting, message=message,
        ),
    )  # fmt: skip


def _note(event: str, failed: NotKept, **more: object) -> None:
    metrics.NOT_KEPT.labels(failed.waiting).inc()
    log.warning(event, waiting=failed.waiting, reason=str(failed), **more)


async def _hold(context: Context, ref: Ref, put: Callable[[], Awaitable[Put]]) -> Put:
    """Try again and again while the job is ours, and as long as a URL would live."""
    clock = asyncio.get_running_loop().time
    until, n = clock() + context.settings.keep_ttl.total_seconds(), 0
    while True:
        try:
            return await put()
        except NoImage:
            raise
        except NotKept as failed:
            n += 1
            wait = delay(n, base=_BASE, cap=_CAP, retry_after=None, random=random.random)
            if ref not in context.running or clock() + wait.total_seconds() > until:
                raise
            _note("image.held", failed, retry_in=wait.total_seconds())
            await asyncio.sleep(wait.total_seconds())


async def _put(
    context: Context,
    ref: Ref,
    project_id: UUID,
    keep: Callable[[], Awaitable[KeptImage]],
    *,
    late_image: bool,
) -> Put:
    """Keep an image and say so. The same bytes may have been deleted just now: keep them again, once."""
    kept = await keep()

    async def say(tx: Transaction, kept: KeptImage) -> Job | None:
        if late_image:
            return await jobs.keep_late(tx, context.presenter, ref, kept)
        return await jobs.succeed(tx, context.presenter, ref, kept)

    with tracing.within("settle"):
        if not late_image:
            with _no_matter("image.kept_plainly"):
                job = await grouping.succeed(context, project_id, ref, kept)
                if job is not None:
                    return kept, job
        try:
            return kept, await persist(context, lambda tx: say(tx, kept))
        except Contested:
            log.info("image.blob_being_deleted")
        blobs = [(project_id, kept.sha256)]
        try:
            if not await persist(context, lambda tx: collector.reserve(tx, blobs)):
                raise NotKept("the same bytes are being deleted for another job")
            reserved = replace(await keep(), reserved=True)
            return reserved, await persist(context, lambda tx: say(tx, reserved))
        except Contested as failed:
            raise NotKept(str(failed)) from failed


@tracing.traced("keep")
async def _keep(context: Context, project_id: UUID, url: str | None, b64: str | None) -> KeptImage:
    """Stream an image into the store. Whole it is in memory only while a child looks at it."""
    settings, store = context.settings, context.store
    try:
        async with context.fetching, opened(context, url, b64) as chunks:
            most = settings.image_max_bytes
            decodes = partial(_decodes, context, project_id)
            blob = await store.keep(str(project_id), chunks, max_bytes=most, decodes=decodes)
        async with context.looking.take(project_id, patience=None):
            size = await context.pictures.inspect(await store.read(blob.key))
    except (NotAnImage, Truncated, TooLarge) as failed:
        raise NoImage(str(failed)) from failed
    except StorageError as failed:
        await storeroom.doubt(context, str(failed))
        raise NotStored(str(failed)) from failed
    if isinstance(size, Broken):
        raise (NotKept if size.passing else NoImage)(size.reason)
    tracing.note(bytes=blob.size, width=size.width, height=size.height)
    log.info(
        "image.kept",
        bytes=blob.size,
        width=size.width,
        height=size.height,
        path=store.place(blob.key),
    )
    return KeptImage(
        sha256=blob.sha256,
        bytes=blob.size,
        width=size.width,
        height=size.height,
        content_type=blob.content_type,
        provider_url=url,
        retention=settings.image_retention,
    )


async def _decodes(context: Context, project_id: UUID, image: bytes) -> bool:
    """Return whether all pixels are there, of an image whose end is not where it should be."""
    async with context.looking.take(project_id, patience=None):
        found = await context.pictures.decode(image, most=_DECODED, whole=False)
    if isinstance(found, Broken) and found.passing:
        raise NotKept(found.reason)
    return not isinstance(found, Broken)
