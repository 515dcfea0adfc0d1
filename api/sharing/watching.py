"""Pages that watch a project: what happens is read once a second for all of them, in one query.

A stream tells what its project's jobs did, by ids alone; the client reads those that it shows. It promises
no more than that a change is told at least once, or that some were skipped.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import structlog

from api.sharing.turns import Turns
from models import ids
from models.errors import Unavailable
from models.jobs.reading import feed
from models.jobs.reading.feed import Change
from models.platform.db import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LOOK = 1.0  # seconds
_LINE = 2 * feed.MOST  # changes that a slow reader may be behind
_SIGN_OF_LIFE = 15.0  # seconds; proxies close what is silent for 30 s or 60 s

Told = Change | Literal["alive", "skipped", "end"]


class Watching:
    """Those who watch projects through this process."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns
        self._lines: dict[asyncio.Queue[Told], UUID] = {}
        self._told: dict[UUID, None] = {}
        self._looking: asyncio.Task[None] | None = None
        self._draining = False

    async def missed(self, project_id: UUID, after: UUID | None) -> list[Told]:
        """Return what happened since a change that was seen, or just now. Raises `Unavailable`."""
        if after is not None and after < ids.first_at(datetime.now(UTC) - feed.REACH):
            return ["skipped"]
        now = ids.first_at(datetime.now(UTC))
        since = now if after is None else min(after, now)
        async with self._turns.open(project_id) as tx:
            found = await feed.changes(tx, [project_id], feed.overlap(since))
        told = [each for each in found if each.id != after]
        return ["skipped", *told] if len(found) == feed.MOST else [*told]

    async def changes(self, project_id: UUID, after: UUID | None) -> AsyncIterator[Told]:
        """Yield what happens from now on, or since a change that was seen; until this process drains."""
        line: asyncio.Queue[Told] = asyncio.Queue(_LINE)
        self._lines[line] = project_id
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_for_all())
        try:
            for told in await self.missed(project_id, after):
                yield told
            while not self._draining:
                try:
                    told = await asyncio.wait_for(line.get(), _SIGN_OF_LIFE)
                except TimeoutError:
                    told = "alive"
                if told == "end":
                    return
                yield told
        finally:
            del self._lines[line]

    def drain(self) -> None:
        """End every stream: who watches comes back, to another process."""
        self._draining = True
        for line in self._lines:
            _put(line, "end")

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look_for_all(self) -> None:
        while self._lines and not self._draining:
            try:
                await self._look()
            except Unavailable as away:
                log.warning("watching.look_failed", reason=away.detail)
            except Exception:
                log.exception("watching.look_failed")  # the next look tells those who watch
            await asyncio.sleep(_LOOK)

    async def _look(self) -> None:
        since = ids.first_at(datetime.now(UTC) - feed.OVERLAP)
        projects = list(dict.fromkeys(self._lines.values()))
        async with self._database.transaction() as tx:
            found = await feed.changes(tx, projects, since)
        fresh = [each for each in found if each.id not in self._told]
        self._told = dict.fromkeys(each.id for each in found)
        counts = dict.fromkeys(projects, 0)
        for change in fresh:
            counts[change.project_id] += 1
        for line, project_id in list(self._lines.items()):
            if counts.get(project_id) == feed.MOST:
                _put(line, "skipped")
        for change in fresh:
            for line, project_id in list(self._lines.items()):
                if project_id == change.project_id:
                    _put(line, change)


def _put(line: asyncio.Queue[Told], told: Told) -> None:
    """Queue news for a reader; one that is far behind gets instead that it missed something."""
    if line.full():
        while not line.empty():
            line.get_nowait()
        line.put_nowait("skipped" if told != "end" else "end")
        return
    line.put_nowait(told)
