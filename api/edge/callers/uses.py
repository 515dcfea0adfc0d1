"""When keys were last used: each process notes which it has seen, and writes them down together.

No request waits for it. A first use is written at once, and the next ones half a minute later at the
earliest, so that a busy key costs two updates a minute.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog

from models.accounts import api_keys
from models.errors import Unavailable
from models.platform.db import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_EVERY = timedelta(seconds=30)


class Uses:
    """The keys that one process has seen since it last wrote them down."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: set[UUID] = set()
        self._some = asyncio.Event()

    def note(self, key_id: UUID) -> None:
        """Note that a key was used just now."""
        self._seen.add(key_id)
        self._some.set()

    async def write_for_ever(self) -> None:
        """Write down what was noted, again and again; without Postgres, later."""
        while True:
            await self._some.wait()
            await self.write()
            await asyncio.sleep(_EVERY.total_seconds())

    async def write(self) -> None:
        """Write down what was noted."""
        seen = list(self._seen)
        self._seen.clear()
        self._some.clear()
        try:
            async with self._database.transaction() as tx:
                await api_keys.used(tx, seen)
        except Unavailable as away:
            log.warning("uses.unwritten", detail=away.detail)
            self._seen.update(seen)
            self._some.set()
