"""Whether a project's queue is full, without counting it for every submission."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from models import jobs
from models.platform.db import Database
from models.webhooks import deliveries

_NEAR, _FAR = 1.0, 10.0  # seconds that a count is believed: near the limit, and while it is far
_PROJECTS_MAX = 10_000


@dataclass(slots=True)
class _Seen:
    """What was counted, when, and how many this process has accepted since."""

    count: int
    at: float
    accepted: int = 0
    crowded: bool = False
    told_at: float = float("-inf")


class Queues:
    """How many jobs of each project wait, as well as this process must know it.

    What Postgres counted (never more than `most`), and what was accepted here since then. It overshoots by
    what *other* api processes accept for the project within a second, or by what is under way in the
    milliseconds of a count; it undershoots for a second at most after jobs have left a full queue. While
    less than half is taken a count lasts ten seconds: as many would have to come elsewhere in that time.

    Each job that ends is told to every endpoint of its project. So its queue is full, too, while very many
    deliveries wait, `told`: else what ends faster than its receivers hear of it piles up for ever.
    """

    def __init__(
        self,
        database: Database,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        told: int = sys.maxsize,
    ) -> None:
        self._database = database
        self._most = most
        self._told = told
        self._clock = clock
        self._seen: dict[UUID, _Seen] = {}

    async def full(self, project_id: UUID) -> bool:
        """Return whether no other job of this project may wait."""
        seen, now = self._seen.get(project_id), self._clock()
        if seen is None or now - seen.at >= self._believed(seen):
            seen = await self._look(project_id, seen, now)
        return seen.crowded or seen.count + seen.accepted >= self._most

    def accepted(self, project_id: UUID) -> None:
        """Count a job that this process has just put into a queue."""
        if seen := self._seen.get(project_id):
            seen.accepted += 1

    def _believed(self, seen: _Seen) -> float:
        return _NEAR if seen.count + seen.accepted >= self._most / 2 else _FAR

    async def _look(self, project_id: UUID, seen: _Seen | None, now: float) -> _Seen:
        """Count, while everybody else goes by the count before: one at a time looks."""
        if seen is None:
            while len(self._seen) >= _PROJECTS_MAX:
                del self._seen[next(iter(self._seen))]
            seen = self._seen[project_id] = _Seen(0, now)
        seen.at, before = now, seen.accepted
        try:
            async with self._database.transaction() as tx:
                seen.count = await jobs.queued(tx, project_id, self._most)
                if now - seen.told_at >= _FAR:
                    seen.crowded = await deliveries.crowded(tx, project_id, self._told)
                    seen.told_at = now
        except BaseException:
            seen.at = now - _FAR  # nobody has counted: the next caller does
            raise
        seen.accepted -= before
        return seen
