"""How often a key may ask, and all keys of a project: a fixed window of a minute, counted in this process.

Nothing is waited for: a limit that asked Redis would fail with Redis. With several api processes a key may
ask as often of each. The fields are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Literal
from uuid import UUID

from models.errors import TooMany

_KEYS_MAX = 10_000
_OF_PROJECT = 2  # keys' worth that a project may ask, however many it has


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key or its project may ask for in a window, what is left of it, and for how many seconds."""

    most: int
    left: int
    seconds: int
    of: Literal["key", "project"] = "key"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Write the fields that tell a client, as ASGI has them."""
        return [
            (b"ratelimit-policy", f'"{self.of}";q={self.most};w=60'.encode()),
            (b"ratelimit", f'"{self.of}";r={self.left};t={self.seconds}'.encode()),
        ]


class Rates:
    """The windows of one process."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._keys, self._projects = _Windows(60, clock), _Windows(60, clock)

    def spend(self, key_id: UUID, project_id: UUID | None) -> tuple[Quota, bool]:
        """Count a request of a key, and of its project if it has one.

        Returns what is left of whichever has less left, and whether there was room for this one. What its
        key has no room for is not its project's: one key that runs away leaves the others theirs.
        """
        most = self._per_minute
        count, end = self._keys.count(key_id)
        if project_id is not None and count <= most:
            together, its_end = self._projects.count(project_id)
            if _OF_PROJECT * most - together < most - count:
                return self._left("project", _OF_PROJECT * most, together, its_end)
        return self._left("key", most, count, end)

    def _left(
        self, of: Literal["key", "project"], most: int, count: int, end: float
    ) -> tuple[Quota, bool]:
        seconds = max(1, ceil(end - self._clock()))
        return Quota(most, max(0, most - count), seconds, of), count <= most


def exhausted(quota: Quota) -> TooMany:
    """Return the refusal of a key, or of a project, that has used up its window."""
    who = "This API key" if quota.of == "key" else "All API keys of this project together"
    return TooMany(
        f"{who} may ask {quota.most:,} times a minute; ask again in {quota.seconds} s.",
        retry_after=timedelta(seconds=quota.seconds),
    )


class _Windows:
    """Counters of constant work and bounded number.

    All windows have one length and so end in the order in which they began: a new one takes away what has
    ended at the front. Beyond `_KEYS_MAX` the oldest is dropped, and its key begins anew.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._counts: OrderedDict[UUID, tuple[int, float]] = OrderedDict()

    def count(self, key: UUID) -> tuple[int, float]:
        """Count once, in a window that the first count begins; returns the count, and the window's end."""
        now = self._clock()
        count, end = self._counts.get(key, (0, now))
        if end <= now:
            self._counts.pop(key, None)
            count, end = 0, now + self._seconds
            self._make_room(now)
        self._counts[key] = (count + 1, end)
        return count + 1, end

    def _make_room(self, now: float) -> None:
        while self._counts:
            key, (_, end) = next(iter(self._counts.items()))
            if end > now and len(self._counts) < _KEYS_MAX:
                return
            del self._counts[key]
