"""Pictures for files, from URLs that clients chose: through the egress guard, and judged as uploads are."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import structlog

from models.errors import EgressRefused, LimitReached, Refusal
from models.ids import PROJECT, text
from models.images import fetches, files
from models.images.fetches import Asked
from models.images.files import Picture, Room
from models.images.measuring import measured
from models.images.pictures import Size
from models.images.reference_sizes import BYTES_MAX, PIXELS_MAX, too_large
from models.images.references import BadReference, Inline, read_bytes
from models.images.store_errors import StoreUnavailable
from worker.egress.connection import Unreachable
from worker.runtime.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DOWNLOAD = timedelta(seconds=30)
_OK = 200


class NotTaken(Exception):
    """The picture is not kept; the message tells the sender of its URL why."""


async def run(context: Context, fetch_id: UUID) -> None:
    """Fetch a picture, judge it, keep it, and say what became of it; what is our fault is tried again."""
    async with context.database.transaction() as tx:
        asked = await fetches.asked(tx, fetch_id)
    if asked is None:
        return
    structlog.contextvars.bind_contextvars(project_id=text(PROJECT, asked.project_id))
    try:
        await _keep(context, asked, await _judged(context, asked))
    except (NotTaken, BadReference, LimitReached) as refused:
        problem = refused.detail if isinstance(refused, LimitReached) else str(refused)
        async with context.database.transaction() as tx:
            await fetches.fail(tx, fetch_id, problem)
        log.info("file.not_fetched", reason=problem)
    except (StoreUnavailable, Refusal) as ours:
        log.warning("file.postponed", reason=str(ours))
    except Exception:
        log.exception("file.not_fetched")  # nobody waits for this task


async def _judged(context: Context, asked: Asked) -> tuple[Inline, Size]:
    """Raise `NotTaken` or `BadReference` for what is no picture that the provider takes."""
    async with context.links.take(asked.project_id, patience=None):
        data = await _download(context, asked.url)
    picture = await asyncio.to_thread(read_bytes, data)
    async with context.looking.take(asked.project_id, patience=None):
        found = await context.pictures.decode(picture.data, most=PIXELS_MAX, whole=True)
    return picture, measured(picture.mime, found)


async def _download(context: Context, url: str) -> bytes:
    """Return what a URL serves, at most as much as a reference may have. Raises `NotTaken`."""
    try:
        async with context.egress.download(
            url, deadline=_DOWNLOAD, max_bytes=BYTES_MAX
        ) as download:
            if download.status != _OK:
                raise NotTaken(f"the URL answered {download.status}.")
            return await _read(download.chunks)
    except EgressRefused:
        # Not which rule, nor what the name resolves to: that would map our network.
        raise NotTaken("the URL leads to an address that may not be reached.") from None
    except Unreachable as failed:
        if failed.reason == "too_large":
            raise NotTaken(too_large(BYTES_MAX + 1)) from None
        raise NotTaken(f"the URL could not be read: {failed.reason}.") from None


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    whole = bytearray()
    async for chunk in chunks:
        whole += chunk
    return bytes(whole)


async def _keep(context: Context, asked: Asked, judged: tuple[Inline, Size]) -> None:
    picture, size = judged
    opened, settings = context.database.transaction, context.settings
    await files.put(opened, context.store, asked.project_id, picture, Room.of(settings))
    kept = Picture.of(picture, size, customer=asked.customer)
    async with opened() as tx:
        if await fetches.keep(tx, asked.id, kept, settings.file_retention):
            log.info("file.fetched", bytes=kept.bytes)
