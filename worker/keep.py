"""Keeping a paid image: its bytes are in the store before the job says `succeeded`.

From *receive* on nobody pays again. Whatever goes wrong here (the URL, the bytes, the store) puts the
job back in phase `keep`, to be fetched again from the provider's URL until that is dead. Bytes that came
inline can be fetched from nowhere: the worker holds them meanwhile.
"""

import asyncio
import random
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import structlog

from models import images, jobs, remnants
from models.attempts import Answer, Ref
from models.db import Transaction
from models.errors import EgressRefused, Unavailable
from models.jobs import Kept, Start
from models.pictures import Broken
from models.remnants import Contested
from models.schema import Job
from models.storage import NotAnImage, StorageError, TooLarge, Truncated
from worker import metrics
from worker.backoff import delay
from worker.connection import Unreachable
from worker.context import Context
from worker.outcomes import Image
from worker.persistence import insist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Put = tuple[Kept, Job | None]  # what is kept, and the job if that has ended it

_OK = 200
_DOWNLOAD = timedelta(seconds=60)
_BASE, _CAP = timedelta(seconds=1), timedelta(seconds=30)  # between two tries of what is held


class NotKept(Exception):
    """The image could not be kept this time; its message says why."""


class NoImage(NotKept):
    """These very bytes are no image that is taken, whenever they are looked at."""


class Gone(NotKept):
    """There is nothing to fetch it from."""


async def receive_and_keep(context: Context, start: Start, image: Image, answer: Answer) -> None:
    """Book the image at once, and then keep its bytes: for the job, or as a spare."""
    received = await _receive(context, start.ref, answer)
    if received is None:
        log.info("image.not_mine")
        return
    use, ref = received
    context.running.add(ref)  # an adopted image goes on under a fresh fence
    try:
        await run(context, ref, start.project_id, image.url, image.b64, spare=use == "spare")
    finally:
        context.running.discard(ref)


async def _receive(
    context: Context, ref: Ref, answer: Answer
) -> tuple[Literal["keep", "spare"], Ref] | None:
    lease, ttl = context.settings.lease_run, context.settings.keep_ttl
    with suppress(Unavailable):  # whether it took effect, the general way finds out
        if await jobs.receive_plain(context.database.direct, ref, answer, lease=lease, ttl=ttl):
            return "keep", ref
    lens = context.lens
    return await insist(
        context, lambda tx: jobs.receive(tx, lens, ref, answer, lease=lease, ttl=ttl)
    )


async def run(
    context: Context,
    ref: Ref,
    project_id: UUID,
    url: str | None,
    b64: str | None = None,
    *,
    spare: bool = False,
) -> None:
    """Fetch, check and store an image, then end its job; or put it off, without paying again."""
    keep = partial(_keep, context, project_id, url, b64)
    put = partial(_put, context, ref, project_id, keep, spare=spare)
    try:
        kept, job = await (put() if b64 is None else _hold(context, ref, put))
    except NotKept as failed:
        metrics.NOT_KEPT.inc()
        log.warning("image.not_kept", reason=str(failed))
        gone = b64 is not None or isinstance(failed, Gone)
        message, ttl = str(failed), context.settings.keep_ttl
        if not spare:
            await insist(
                context,
                lambda tx: jobs.keep_later(
                    tx, context.lens, ref, ttl=ttl, message=message, gone=gone
                ),
            )
        elif isinstance(failed, NoImage):
            await insist(context, lambda tx: jobs.pass_by(tx, ref))
        return
    if job is None:
        log.info("image.spare" if spare else "job.not_mine", fence=ref.fence)
        return
    context.running.discard(ref)  # its lease has ended with it: only the thumbnail is left
    ended = f"job.{job.status}"
    log.info(ended, credits=job.charged)
    await make_thumbnail(context, ref.job_id, project_id, kept.sha256)


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
            metrics.NOT_KEPT.inc()
            log.warning("image.held", reason=str(failed), retry_in=wait.total_seconds())
            await asyncio.sleep(wait.total_seconds())


async def make_thumbnail(context: Context, job_id: UUID, project_id: UUID, sha256: str) -> None:
    """Draw the thumbnail, in a child process; an image that cannot be drawn is left without one."""
    store = context.store
    try:
        async with context.looking:
            drawn = await context.pictures.thumbnail(await store.read(f"{project_id}/{sha256}"))
        if not isinstance(drawn, Broken):
            await store.put_thumbnail(str(project_id), sha256, drawn)
        await images.thumbnail_is(
            context.database.direct, job_id, "impossible" if isinstance(drawn, Broken) else "made"
        )
    except (StorageError, Unavailable) as failed:
        log.warning("thumbnail.later", reason=str(failed))


async def _put(
    context: Context,
    ref: Ref,
    project_id: UUID,
    keep: Callable[[], Awaitable[Kept]],
    *,
    spare: bool,
) -> Put:
    """Keep an image and say so. The same bytes may have been deleted just now: keep them again, once."""
    kept = await keep()

    async def say(tx: Transaction, kept: Kept) -> Job | None:
        if spare:
            return await jobs.keep_spare(tx, context.lens, ref, kept)
        return await jobs.succeed(tx, context.lens, ref, kept)

    if not spare:
        with suppress(Unavailable):  # whether it took effect, the general way finds out
            plain = await jobs.succeed_plain(context.database.direct, context.lens, ref, kept)
            if plain is not None:
                return kept, plain
    try:
        return kept, await insist(context, lambda tx: say(tx, kept))
    except Contested:
        log.info("image.contested")
    blobs = [(project_id, kept.sha256)]
    try:
        if not await insist(context, lambda tx: remnants.claim(tx, blobs)):
            raise NotKept("the same bytes are being deleted for another job")
        claimed = replace(await keep(), claimed=True)
        return claimed, await insist(context, lambda tx: say(tx, claimed))
    except Contested as failed:
        raise NotKept(str(failed)) from failed


async def _keep(context: Context, project_id: UUID, url: str | None, b64: str | None) -> Kept:
    """Stream an image into the store. Whole it is in memory only while a child looks at it."""
    settings, store = context.settings, context.store
    try:
        async with context.fetching, _open(context, url, b64) as chunks:
            blob = await store.keep(str(project_id), chunks, max_bytes=settings.image_max_bytes)
        async with context.looking:
            size = await context.pictures.inspect(await store.read(blob.key))
    except (NotAnImage, Truncated, TooLarge) as failed:
        raise NoImage(str(failed)) from failed
    except (StorageError, Unreachable, EgressRefused) as failed:
        raise NotKept(str(failed)) from failed
    if isinstance(size, Broken):
        raise (NotKept if size.passing else NoImage)(size.reason)
    log.info(
        "image.kept",
        bytes=blob.size,
        width=size.width,
        height=size.height,
        path=store.place(blob.key),
    )
    return Kept(
        sha256=blob.sha256,
        bytes=blob.size,
        width=size.width,
        height=size.height,
        content_type=blob.content_type,
        provider_url=url,
        retention=settings.image_retention,
    )


@asynccontextmanager
async def _open(
    context: Context, url: str | None, b64: str | None
) -> AsyncIterator[AsyncIterator[bytes]]:
    if b64 is not None:
        yield _inline(b64)
        return
    if url is None:
        raise Gone("the bytes came inline, and were lost with the worker that had them")
    async with context.egress.download(
        url, deadline=_DOWNLOAD, max_bytes=context.settings.image_max_bytes
    ) as download:
        if download.status != _OK:
            raise NotKept(f"the provider's image URL answered {download.status}")
        yield download.chunks


async def _inline(b64: str) -> AsyncIterator[bytes]:
    try:
        yield b64decode(b64, validate=True)
    except ValueError:
        raise NoImage("the provider's inline image is not base 64") from None
