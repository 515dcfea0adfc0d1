"""The results of a batch, in the order in which its rows came: read and sent some rows at a time."""

import re
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Literal
from uuid import UUID

from pydantic_core import to_json

from api.dependencies.state import State
from models import ids
from models.accounts.callers import Caller
from models.images.store_errors import Missing
from models.jobs import Snapshot, batches, view
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.jsonable import Json, time

Format = Literal["ndjson", "csv", "zip"]
COLUMNS = (
    "row", "custom_id", "job", "status", "url", "content_type", "bytes", "width", "height", "sha256",
    "credits", "error_code", "error_message",
)  # fmt: skip
_PAGE = 250  # rows
_PATIENCE = 60.0  # seconds that each part of a file may wait for its turn
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")  # in the name of a file


async def lines(here: State, caller: Caller, batch_id: UUID) -> AsyncIterator[bytes]:
    """Return every row as a line of JSON."""
    async for page in pages(here, caller, batch_id):
        yield b"".join(to_json(_row(here.presenter, each)) + b"\n" for each in page)


async def table(here: State, caller: Caller, batch_id: UUID) -> AsyncIterator[Sequence[Json]]:
    """Return every row as cells of CSV, some at a time."""
    async for page in pages(here, caller, batch_id):
        yield [_cells(_row(here.presenter, each)) for each in page]


async def archive(here: State, caller: Caller, batch_id: UUID) -> AsyncIterator[bytes]:
    """Return the images that are kept, as a ZIP archive: each as it comes out of the store, as it is."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as made:  # 64 bits, where that is needed
        async for page in pages(here, caller, batch_id):
            for found in page:
                async for piece in _image(here, made, sink, found):
                    yield piece
    yield sink.take()


async def pages(here: State, caller: Caller, batch_id: UUID) -> AsyncIterator[list[Snapshot]]:
    """Return every row, a page at a time; the transaction of a page is over before it is given."""
    opened = partial(here.reports.open, caller.project_id, _PATIENCE)
    after, more = 0, True
    while more:
        found, more = await _page(opened(), batch_id, after)
        after = found[-1].job.batch_row or 0 if found else after
        yield found


async def _page(
    opened: AbstractAsyncContextManager[Transaction], batch_id: UUID, after: int
) -> tuple[list[Snapshot], bool]:
    async with opened as tx:
        return await batches.items(tx, batch_id, _PAGE, after=after)


async def _image(
    here: State, made: zipfile.ZipFile, sink: "_Sink", found: Snapshot
) -> AsyncIterator[bytes]:
    image = found.image
    if image is None or image.removed_at is not None or image.expires_at <= found.now:
        return
    try:
        chunks = await here.store.open(
            f"{found.job.project_id}/{image.sha256}", start=0, end=image.bytes
        )
    except Missing:
        return
    named = zipfile.ZipInfo(_name(found), found.now.timetuple()[:6])
    with made.open(named, "w") as entry:
        async for chunk in chunks:
            entry.write(chunk)
            yield sink.take()
    yield sink.take()


def _name(found: Snapshot) -> str:
    """Name a file so that it sorts as the rows came, and means nothing to a shell."""
    kind = "jpg" if found.image is None else found.image.content_type.partition("/")[2]
    called = _UNSAFE.sub("_", found.job.custom_id or "")[:80].strip("._") or "image"
    return f"{found.job.batch_row:05d}-{called}.{kind.replace('jpeg', 'jpg')}"


class _Sink:
    """The file that an archive is written to. It cannot seek; `take` returns what was written since."""

    mode = "wb"

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, piece: bytes, /) -> int:
        """Append bytes."""
        self._written += piece
        return len(piece)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def flush(self) -> None:
        """Do nothing: all is there."""

    def take(self) -> bytes:
        """Return what was written since."""
        piece = bytes(self._written)
        self._written.clear()
        return piece


def _row(presenter: Presenter, found: Snapshot) -> Json:
    job, image = found.job, found.image
    shown = None
    if image is not None:
        shown = {
            "url": presenter.image_url(job, image, found.now),
            "content_type": image.content_type,
            "bytes": image.bytes,
            "width": image.width,
            "height": image.height,
            "sha256": image.sha256,
            "expires_at": time(image.expires_at),
        }
    error = job.error and {"code": job.error.get("code"), "message": job.error.get("message")}
    return {
        "row": job.batch_row,
        "custom_id": job.custom_id,
        "job": ids.text(ids.JOB, job.id),
        "status": view.status(job),
        "image": shown,
        "credits": job.charged,
        "error": error,
    }


def _cells(row: Json) -> Json:
    image = row["image"] if isinstance(row["image"], dict) else {}
    error = row["error"] if isinstance(row["error"], dict) else {}
    told = {"error_code": error.get("code"), "error_message": error.get("message")}
    return {name: {**row, **image, **told}.get(name) for name in COLUMNS}
