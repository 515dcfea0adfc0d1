"""Where spans go: to an OTLP receiver over HTTP, if one is named; else nowhere.

The SDK is an extra (`darkroom[traces]`), so that whoever collects no traces installs none of it. It reads
the rest of its environment by itself: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_…, and the
exporter's OTEL_EXPORTER_OTLP_….
"""

from typing import Protocol

from models.errors import Misconfigured
from models.settings import Settings


class _Collector(Protocol):
    def close(self) -> None:
        """Send what is left, within two seconds."""


_open: list[_Collector] = []


def start(role: str, settings: Settings) -> None:
    """Send this process's spans to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; nothing without one.

    Raises `Misconfigured` when the SDK is not installed.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return
    try:
        from models.platform.tracing.exporting import Exporting  # noqa: PLC0415 - the SDK is an extra
    except ImportError as missing:
        raise Misconfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry's SDK and OTLP exporter are not "
            "installed: install Darkroom with its extra `traces`, or unset it"
        ) from missing
    _open.append(Exporting(role, settings))


def stop() -> None:
    """Send what is left, and end; a receiver that does not answer is not waited for."""
    while _open:
        _open.pop().close()
