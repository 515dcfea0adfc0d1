"""Signs of life of what nobody waits for: the consumer of messages, the heartbeat."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

Clock = Callable[[], float]

_DOUBTFUL = 3  # of the patience: a silence of a third of it is looked into


class Pulse:
    """Beats whenever something got through; `at` is the last time, by a clock that is never set."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.at = clock()

    def beat(self) -> None:
        """Record that something got through just now."""
        self.at = self._clock()


class Watch:
    """A watch on a part that gets nothing through, though the other end answers others all the while.

    An other end that is away is no reason: a restart would not bring it back, and would cost the calls
    that are under way. `patience` is counted from the last beat, or from when the other end came back.
    """

    def __init__(
        self,
        what: str,
        pulse: Pulse,
        answers: Callable[[], Awaitable[bool]],
        patience: timedelta,
        clock: Clock = time.monotonic,
    ) -> None:
        self._what = what
        self._pulse = pulse
        self._answers = answers
        self._patience = patience.total_seconds()
        self._clock = clock
        self._away_at = clock()

    async def check(self) -> str | None:
        """Return None, or in words what is dead."""
        if self._clock() - self._pulse.at < self._patience / _DOUBTFUL:
            return None
        if not await self._answers():
            self._away_at = self._clock()
            return None
        silence = self._clock() - max(self._pulse.at, self._away_at)
        return f"{self._what} for {silence:.0f} s" if silence >= self._patience else None
