"""Thumbnails: drawn beside the work, by a child of their own, in turns of the projects.

Nobody waits for one: its job has ended. So none holds the place of a call, and none is in the way of an
image that has yet to be kept, however many one project has to be drawn. The dispatcher asks again
for what is lost with its worker, or finds no room in its project's line (`dispatcher/duties/redrawing.py`).
"""

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog

from models.errors import TooMany, Unavailable
from models.images import records
from models.images.pictures import Broken, Pictures
from models.images.storage import Store
from models.images.store_errors import Missing, StorageError
from models.platform.db.direct import Direct
from models.platform.places import Places

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

CHILDREN, NICE = 1, 15  # whatever else there is to do comes first
_LINE = 1_000  # of a project's that wait here; each is some hundred bytes
_CROWDED = "Too many thumbnails of this project wait to be drawn."


class Thumbnails:
    """What one process has to draw. An async context manager: what is not drawn by its end is left."""

    def __init__(self, store: Store, direct: Direct, pictures: Pictures) -> None:
        self._store = store
        self._direct = direct
        self._pictures = pictures
        self._places = Places(CHILDREN, share=CHILDREN, line=_LINE, crowded=_CROWDED)
        self._asked: dict[UUID, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left = list(self._asked.values())
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def ask(self, job_id: UUID, project_id: UUID, sha256: str) -> None:
        """Draw the thumbnail of a job's image in its turn; asked for twice it is drawn once."""
        if job_id not in self._asked:
            drawing = asyncio.create_task(self._draw(job_id, project_id, sha256))
            self._asked[job_id] = drawing
            drawing.add_done_callback(lambda _: self._asked.pop(job_id))

    async def drawn(self, patience: timedelta | None = None) -> None:
        """Wait until all that was asked for is drawn, or so long."""
        if self._asked:
            seconds = None if patience is None else patience.total_seconds()
            await asyncio.wait(self._asked.values(), timeout=seconds)

    async def _draw(self, job_id: UUID, project_id: UUID, sha256: str) -> None:
        """Draw one; an image that cannot be drawn is left without."""
        store = self._store
        try:
            async with self._places.take(project_id, patience=None):
                drawn = await self._pictures.thumbnail(await store.read(f"{project_id}/{sha256}"))
                if not isinstance(drawn, Broken):
                    await store.put_thumbnail(str(project_id), sha256, drawn)
            await records.thumbnail_is(
                self._direct, job_id, "impossible" if isinstance(drawn, Broken) else "made"
            )
        except Missing:
            await records.thumbnail_is(self._direct, job_id, "impossible")
        except (StorageError, Unavailable, TooMany) as failed:
            log.warning("thumbnail.postponed", reason=str(failed))
