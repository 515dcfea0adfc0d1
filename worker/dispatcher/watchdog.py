"""Which duties go on: each shows that it does, and one that does not makes the process unhealthy."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import partial

from prometheus_client import Gauge

_OVERDUE = Gauge(
    "darkroom_duty_overdue_seconds",
    "How long ago a duty should have shown that it goes on; 0 while it does",
    ["duty"],
)

_goes_on: ContextVar[Callable[[], None] | None] = ContextVar("goes_on", default=None)


class Watchdog:
    """Until when each duty must have shown that it goes on; one that has not is stuck."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def watch(self, duty: str, stuck: timedelta) -> None:
        """Watch a duty, in its own task: within `stuck` of each sign (`go_on`) the next must follow."""
        _goes_on.set(partial(self.expect, duty, stuck))

    def expect(self, duty: str, within: timedelta) -> None:
        """Expect the next sign of a duty within this time."""
        if duty not in self._due:
            _OVERDUE.labels(duty).set_function(partial(self._overdue, duty))
        self._due[duty] = time.monotonic() + within.total_seconds()

    def stuck(self) -> str | None:
        """Return None, or in words which duties are stuck."""
        late = sorted(duty for duty, due in self._due.items() if due <= time.monotonic())
        return f"stuck: {', '.join(late)}" if late else None

    def _overdue(self, duty: str) -> float:
        return max(time.monotonic() - self._due[duty], 0.0)


def go_on() -> None:
    """Show that the calling duty goes on: a long turn does so at each of its steps."""
    sign = _goes_on.get()
    if sign is not None:
        sign()
