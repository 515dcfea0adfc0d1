"""Batches that are being taken: few at once, a share for each project, and connections of their own.

A batch is one transaction of seconds. It takes no connection of the requests that are answered in
milliseconds.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from uuid import UUID

from models.platform.db import Database, Transaction
from models.platform.places import Places

AT_ONCE = 2  # batches that are judged and written
# For all of a batch: 50,000 rows take about ten, on a busy machine twenty.
PATIENCE = timedelta(seconds=60)
_LINE = 16  # of a project's that may wait
_CROWDED = "Other batches of this project are being taken; send one after the other."


class Intakes:
    """The batches that one process takes in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places = Places(AT_ONCE, share=1, line=_LINE, crowded=_CROWDED)

    @asynccontextmanager
    async def turn(self, project_id: UUID) -> AsyncIterator[None]:
        """Hold the place of a batch; raises `TooMany` when none comes in time."""
        async with self._places.take(project_id, PATIENCE.total_seconds()):
            yield

    def open(self) -> AbstractAsyncContextManager[Transaction]:
        """Open the transaction of a batch, which has a minute; called in its turn."""
        return self._database.transaction()
