"""What a role does not load, though a library of its would."""

import sys
from typing import Any, cast

_METRICS = "opentelemetry.sdk.metrics"


def load_redis() -> None:
    """Load redis-py without OpenTelemetry's metrics, which it takes along wherever they are installed.

    To be called before anything else loads either. They are with what exports traces, and nobody here has
    redis-py measure itself: a fortieth of a start, and 1.2 MB of a process.
    """
    loaded = cast("dict[str, Any]", sys.modules)
    loaded[_METRICS] = None  # an import of it fails, as if it were not there (sys.modules)
    try:
        import redis  # noqa: F401, PLC0415 - here and not sooner
    finally:
        del loaded[_METRICS]
