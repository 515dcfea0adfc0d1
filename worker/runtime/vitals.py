"""What a worker tells Prometheus of itself: how long nothing got through, and its patience with calls."""

import time
from functools import partial

from prometheus_client import Gauge

from worker.runtime import broker
from worker.runtime.context import Context
from worker.runtime.pulse import Pulse

_TIMEOUT = Gauge(
    "darkroom_call_timeout_seconds", "After how long a paid call is given up", ["size"]
)
_SILENCE = Gauge(
    "darkroom_worker_silence_seconds",
    "How long nothing got through: to the consumer from Redis, or with a heartbeat to Postgres",
    ["of"],
)


def export(context: Context) -> None:
    """Show it from now on."""
    for of, pulse in (("redis", broker.pulse), ("postgres", context.heart)):
        _SILENCE.labels(of).set_function(partial(_silence, pulse))
    _TIMEOUT.labels("usual").set(context.settings.attempt_timeout.total_seconds())
    _TIMEOUT.labels("large").set(context.settings.attempt_timeout_large.total_seconds())


def _silence(pulse: Pulse) -> float:
    return time.monotonic() - pulse.at
