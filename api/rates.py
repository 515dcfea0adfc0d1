"""How often a key may ask: a fixed window of a minute, counted in this process alone.

Nothing is waited for: a limit that asked Redis would fail with Redis. With several api processes a key may
ask as often of each. The fields are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from uuid import UUID

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from models.errors import TooMany

_KEYS_MAX = 10_000
_STRANGERS = 200  # keys never seen before that may be looked up in a second: each costs a query


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key may ask for in its window, what is left of it, and for how many seconds it lasts."""

    most: int
    left: int
    seconds: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Write the fields that tell a client, as ASGI has them."""
        return [
            (b"ratelimit-policy", f'"key";q={self.most};w=60'.encode()),
            (b"ratelimit", f'"key";r={self.left};t={self.seconds}'.encode()),
        ]


class Rates:
    """The windows of one process."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._keys = FixedWindowRateLimiter(Windows(clock))
        self._per_minute = RateLimitItemPerMinute(per_minute)
        self._strangers = FixedWindowRateLimiter(Windows(clock))
        self._per_second = RateLimitItemPerSecond(_STRANGERS)

    def spend(self, key_id: UUID) -> tuple[Quota, bool]:
        """Count a request of a key; gives what is left, and whether there was room for this one."""
        fits = self._keys.hit(self._per_minute, str(key_id))
        reset, left = self._keys.get_window_stats(self._per_minute, str(key_id))
        seconds = max(1, ceil(reset - self._clock()))
        return Quota(self._per_minute.amount, int(left), seconds), fits

    def meet_stranger(self) -> None:
        """Count a key that this process has never seen to be good; raises `TooMany`."""
        if not self._strangers.hit(self._per_second, "all"):
            raise TooMany(
                "Too many unknown API keys come here at the moment; try again in a second.",
                retry_after=timedelta(seconds=1),
            )


def exhausted(quota: Quota) -> TooMany:
    """Say that a key has used up its window."""
    return TooMany(
        f"This API key may ask {quota.most:,} times a minute; ask again in {quota.seconds} s.",
        retry_after=timedelta(seconds=quota.seconds),
    )


class Windows(Storage):
    """Counters in memory, of constant work and bounded number.

    The storage that `limits` brings starts a thread every 10 ms while it is used, which walks through all
    keys. Here all windows have one length and so end in the order in which they began: a new one takes away
    what has ended at the front. Beyond `_KEYS_MAX` the oldest is dropped, and its key begins anew.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """Give what a broken storage raises; this one does not break."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, in a window that begins with the first count and lasts `expiry` seconds."""
        now = self._clock()
        count, end = self._counts.get(key, (0, 0.0))
        if end <= now:
            self._counts.pop(key, None)
            count, end = 0, now + expiry
            self._make_room(now)
        self._counts[key] = (count + amount, end)
        return count + amount

    def get(self, key: str) -> int:
        """Give the count of the window under way, or 0."""
        count, end = self._counts.get(key, (0, 0.0))
        return count if end > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        """Give when the window under way ends, by the clock."""
        return self._counts.get(key, (0, self._clock()))[1]

    def check(self) -> bool:
        """Tell whether the storage works."""
        return True

    def reset(self) -> int:
        """Forget every window; gives how many there were."""
        forgotten = len(self._counts)
        self._counts.clear()
        return forgotten

    def clear(self, key: str) -> None:
        """Forget the window of a key."""
        self._counts.pop(key, None)

    def _make_room(self, now: float) -> None:
        while self._counts:
            key, (_, end) = next(iter(self._counts.items()))
            if end > now and len(self._counts) < _KEYS_MAX:
                return
            del self._counts[key]
