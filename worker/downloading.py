"""Where a paid image's bytes come from, and in what way they cannot be had.

NotKept           not this time
├── NotStored     ours: the store refused, or was too slow
└── NotFetched    theirs: the provider's URL did not serve it
    ├── Missing   404 or 410: perhaps not there yet, perhaps never again
    ├── Denied    its host refuses it: it may not know the signature yet, or has an opinion of us
    ├── NoImage   these very bytes are no image that is taken
    └── Gone      there is nothing to fetch it from
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import ClassVar

from models.errors import EgressRefused
from models.states import WaitingReason
from worker.decoding import inline
from worker.egress.connection import Unreachable
from worker.egress.guarded import Download
from worker.runtime.context import Context

_FOUND = frozenset({200, 201, 203, 206})  # whether all of it came, is seen by decoding it
_NOT_THERE = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})  # of a client's errors, those that say: come again
_SERVER_ERROR = 500
_DOWNLOAD = timedelta(seconds=60)


class NotKept(Exception):
    """The image could not be kept this time; its message says why, `waiting` whose turn it is."""

    waiting: ClassVar[WaitingReason] = "storage"


class NotStored(NotKept):
    """Our own store, or the disk on the way to it, refused or was too slow."""


class NotFetched(NotKept):
    """The provider's URL did not serve the image: theirs, whatever our store does."""

    waiting = "image_download"


class Missing(NotFetched):
    """The provider's URL says that there is nothing: some minutes may mend that, a day does not."""


class Denied(NotFetched):
    """The host answers, and refuses it: minutes may mend that, a day does not."""


class NoImage(NotFetched):
    """These very bytes are no image that is taken, whenever they are looked at."""


class Gone(NotFetched):
    """There is nothing to fetch it from."""


@asynccontextmanager
async def opened(
    context: Context, url: str | None, b64: str | None
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open an image's bytes: inline ones if there are any, else from its URL.

    Raises `Gone` when there is neither; `NotFetched`, also out of the bytes that are given; `NotStored`
    when they had all come and what was done with them took too long.
    """
    if b64 is not None:
        yield _inline(b64)
        return
    if url is None:
        raise Gone("the bytes came inline, and were lost with the worker that had them")
    came = False

    async def chunks(download: Download) -> AsyncIterator[bytes]:
        nonlocal came
        async for chunk in download.chunks:
            yield chunk
        came = True

    try:
        async with context.egress.download(
            url, deadline=_DOWNLOAD, max_bytes=context.settings.image_max_bytes
        ) as download:
            if download.status not in _FOUND:
                raise _refusal(download.status)
            yield chunks(download)
    except Unreachable as failed:
        if came:  # the one deadline covers the store's work too
            raise NotStored(f"the store did not take the image within {_DOWNLOAD}") from failed
        raise NotFetched(f"the provider's image could not be fetched: {failed}") from failed
    except EgressRefused as refused:
        raise NotFetched(f"the provider's image URL was refused: {refused}") from refused


def _refusal(status: int) -> NotFetched:
    said = f"the provider's image URL answered {status}"
    if status in _NOT_THERE:
        return Missing(said)
    return NotFetched(said) if status >= _SERVER_ERROR or status in _LATER else Denied(said)


async def _inline(b64: str) -> AsyncIterator[bytes]:
    image = await asyncio.to_thread(inline.decode, b64)
    if image is None:
        raise NoImage("the provider's inline image is not base 64")
    yield image
