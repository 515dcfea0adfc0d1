"""Reads that may take long (lists, reports, exports): a project has a part of the connections for them.

Behind a share and a time limit, because the rows of one project may be many: its lists wait for each
other, and everybody else's requests for none of them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.platform.db import Database, Transaction
from models.platform.places import Places
from models.settings import Settings

_LINE = 32  # of a project's that may wait
_PATIENCE = 5.0  # seconds that one waits
_CROWDED = "Too many lists and reports of this project are being read; ask for fewer at once."
_LIMIT = text("SELECT set_config('statement_timeout', :limit, true)")


class Reports:
    """The long reads of one process: of its pool, 3 in 5 for all of them and 1 in 4 for one project's."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._limit = f"{round(settings.read_timeout / timedelta(milliseconds=1))}ms"
        pool = settings.database_pool
        self._places = Places(
            max(pool * 3 // 5, 1), share=max(pool // 4, 1), line=_LINE, crowded=_CROWDED
        )

    @asynccontextmanager
    async def open(
        self, project_id: UUID, patience: float = _PATIENCE
    ) -> AsyncIterator[Transaction]:
        """Open a transaction whose statements are ended after `DARKROOM_READ_TIMEOUT`.

        Raises `TooMany` when this project reads too much already, `Busy` when it takes too long.
        """
        async with self._places.take(project_id, patience), self._database.transaction() as tx:
            await tx.execute(_LIMIT, {"limit": self._limit})
            yield tx
