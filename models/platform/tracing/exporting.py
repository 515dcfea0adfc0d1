"""OpenTelemetry's SDK, set up for one role. Imported only where a receiver is named."""

import logging
import threading
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, TraceState
from opentelemetry.util.re import parse_env_headers
from opentelemetry.util.types import Attributes

from models.platform.version import VERSION
from models.settings import Settings

_LAST = 2.0  # seconds to send what is left at the end
_PATH = "/v1/traces"  # of the OTLP specification, below the endpoint
# It tells of each of its own retries; that a batch was lost, it says once more as an error.
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Exporting:
    """The provider of spans of this process; they leave in batches, from a thread of its own."""

    def __init__(self, role: str, settings: Settings) -> None:
        logging.getLogger(_EXPORTER).setLevel(logging.ERROR)
        headers = settings.otel_exporter_otlp_headers
        exporter = OTLPSpanExporter(
            endpoint=f"{settings.otel_exporter_otlp_endpoint}{_PATH}",
            headers=parse_env_headers(headers.get_secret_value(), liberal=True)
            if headers
            else None,
        )
        ours = Resource({"service.name": f"darkroom-{role}", "service.version": VERSION})
        self._provider = TracerProvider(
            sampler=AsSubmitted(_sampler(settings)),
            resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,  # which would wait for as long as a receiver is silent
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(self._provider)

    def close(self) -> None:
        """Send what is left, within two seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(_LAST)


class AsSubmitted(Sampler):
    """Samples a trace with a link as the one that it is linked to: an attempt as its submission."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for an attempt as the chosen sampler decides for its submission's trace."""
        if links:
            linked = links[0].context
            parent_context = trace.set_span_in_context(NonRecordingSpan(linked), Context())
            trace_id = linked.trace_id
        return self._inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """Return its name."""
        return f"AsSubmitted{{{self._inner.get_description()}}}"


def _sampler(settings: Settings) -> Sampler:
    """Return the sampler of the specification's name, with its argument."""
    word = settings.otel_traces_sampler
    roots: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.otel_traces_sampler_arg),
    }
    root = roots[word.removeprefix("parentbased_")]
    return ParentBased(root) if word.startswith("parentbased_") else root
