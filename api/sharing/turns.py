"""Work on the database that a request does: a project has a part of the connections for it.

So many of one project's requests are under way at once that the others' never wait behind its pile, neither
for a connection nor for the loop and Postgres, which whatever is under way keeps busy. A line for each
project is served in turn (`models/platform/places.py`).
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

from models.errors import Unavailable
from models.platform.db import Database, Transaction
from models.platform.db.direct import DirectTransaction
from models.platform.places import Places
from models.settings import Settings

# Callers without a key, by a signed URL or a link, have one project's share together.
WITHOUT_KEY = UUID(int=0)
_PATIENCE = 3.0  # seconds; with those of the pool and of a statement, less than clients wait for
_LINE = 4_096  # of a project's; the connections bound it before
_CROWDED = "The database is busy with requests of this project; send fewer at once."


class Turns:
    """The turns of one process: half of its connections for one project's requests."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        pool = settings.database_pool
        self._places = Places(
            pool, share=max(pool // 2, 1), line=_LINE, crowded=_CROWDED, refusal=Unavailable
        )

    def take(self, project_id: UUID) -> AbstractAsyncContextManager[None]:
        """Hold a turn; raises `Unavailable` when none came in time: what is before it does not move."""
        return self._places.take(project_id, _PATIENCE)

    @asynccontextmanager
    async def open(self, project_id: UUID) -> AsyncIterator[Transaction]:
        """Open a transaction in a turn; raises as `take`, and as `Database.transaction`."""
        async with self.take(project_id), self._database.transaction() as tx:
            yield tx

    @asynccontextmanager
    async def direct(self, project_id: UUID) -> AsyncIterator[DirectTransaction]:
        """Open a transaction of the driver's own in a turn, for arrows whose statements are prepared."""
        async with self.take(project_id), self._database.direct.transaction() as tx:
            yield tx
