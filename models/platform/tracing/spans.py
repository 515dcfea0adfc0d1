"""Spans, and the `traceparent` (W3C Trace Context) that lies on a job's row between them.

The submission is a step of its submitter's trace, where the request came with one; so are the dispatch and
the webhooks of its job, hours later. Each attempt is a trace of its own, with a link to the submission: who
looks at the submitter's trace sees seconds, and not the night that a batch may wait.

Whether a job is traced is decided once, at its submission. A job whose row has no `traceparent` is not.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Token
from functools import wraps
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

import structlog
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from models.errors import Refusal
from models.platform.version import VERSION

Name = Literal[
    "accept", "dispatch", "attempt", "provider call", "receive", "keep", "settle", "deliver"
]
Fact = str | int | float | bool | None
Given = ParamSpec("Given")
Result = TypeVar("Result")

_KINDS: dict[Name, SpanKind] = {
    "accept": SpanKind.SERVER,
    "dispatch": SpanKind.PRODUCER,
    "attempt": SpanKind.CONSUMER,
    "provider call": SpanKind.CLIENT,
    "deliver": SpanKind.CLIENT,
}
# What OpenTelemetry's conventions have a name for; all else is `darkroom.…`.
_CONVENTIONS = {"http_status": "http.response.status_code"}

_OURS = 500  # from this status on a refusal is our failure, and not the caller's

_W3C = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("darkroom", VERSION)


class Step:
    """A span that is under way within a `with`, or nothing at all where none is recorded.

    While it is under way, lines of the log have its `ids`.
    """

    def __init__(self, span: Span | None = None, within: str | None = None, **ids: str) -> None:
        self._span, self._within, self._ids = span, within, ids
        self._entered: Token[Context] | None = None
        self._bound: dict[str, Token[Any]] = {}

    @property
    def traceparent(self) -> str | None:
        """How a request that is sent within it names it; where no span is recorded, as the row does."""
        return self._within if self._span is None else _written(self._span.get_span_context())

    def note(self, **facts: Fact) -> None:
        """Write down what is known of it; what is None is left out."""
        if self._span is not None:
            _note(self._span, facts)

    def fail(self, reason: str) -> None:
        """Mark it as failed, for a reason in one word."""
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, reason))

    def __enter__(self) -> Self:
        if self._ids:
            self._bound = dict(structlog.contextvars.bind_contextvars(**self._ids))
        if self._span is not None:
            self._entered = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bound:
            structlog.contextvars.reset_contextvars(**self._bound)
        if self._span is None:
            return
        # By its kind alone: what an exception says may be anybody's.
        if isinstance(error, Refusal) and error.status < _OURS:
            self.note(refused=kind.__name__ if kind else None)
        elif kind is not None:
            self.fail(kind.__name__)
        self._span.end()
        if self._entered is not None:
            context.detach(self._entered)


_NOTHING = Step()


def enter(traceparent: str | None) -> None:
    """Let the present context, a request's, be a part of the trace that its header names, or of none."""
    remote = None if traceparent is None else _read(traceparent)
    if remote is None:
        context.attach(Context())
        return
    context.attach(_within(remote))
    structlog.contextvars.bind_contextvars(trace_id=_id(remote))


def begin(name: Name) -> Step:
    """Begin a step of the request's trace, or of a new one, whose id its log lines have from now on."""
    span = _recorded(_TRACER.start_span(name, kind=_KINDS[name]))
    if span is None:
        return _NOTHING
    structlog.contextvars.bind_contextvars(trace_id=_id(span.get_span_context()))
    return Step(span)


def carry_on(name: Name, traceparent: str | None, *, since: int | None = None) -> Step:
    """Begin a step of the trace that a job's row names; nothing where it names none.

    It began at `since`, in nanoseconds of the epoch, if that is given.
    """
    remote = None if traceparent is None else _read(traceparent)
    if remote is None:
        return _NOTHING
    span = _TRACER.start_span(name, _within(remote), _KINDS[name], start_time=since)
    return Step(_recorded(span), _written(remote), trace_id=_id(remote))


def apart(name: Name, traceparent: str | None) -> Step:
    """Begin a trace of its own, with a link to the one that a job's row names; nothing without one."""
    remote = None if traceparent is None else _read(traceparent)
    if remote is None:
        return _NOTHING
    span = _recorded(_TRACER.start_span(name, Context(), _KINDS[name], links=[Link(remote)]))
    if span is None:
        return Step(trace_id=_id(remote))
    return Step(span, trace_id=_id(remote), attempt_trace_id=_id(span.get_span_context()))


def within(name: Name) -> Step:
    """Begin a step of what is under way; nothing where that is not recorded."""
    if not trace.get_current_span().is_recording():
        return _NOTHING
    return Step(_TRACER.start_span(name, kind=_KINDS.get(name, SpanKind.INTERNAL)))


def traced(
    name: Name,
) -> Callable[[Callable[Given, Awaitable[Result]]], Callable[Given, Coroutine[Any, Any, Result]]]:
    """Make each call of a coroutine function a step: an `accept` as `begin` does, all else as `within`."""
    opened = begin if name == "accept" else within

    def decorate(
        function: Callable[Given, Awaitable[Result]],
    ) -> Callable[Given, Coroutine[Any, Any, Result]]:
        @wraps(function)
        async def stepping(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            with opened(name):
                return await function(*args, **kwargs)

        return stepping

    return decorate


def note(**facts: Fact) -> None:
    """Write down what is known of the step that is under way, if there is one."""
    span = trace.get_current_span()
    if span.is_recording():
        _note(span, facts)


def carried() -> str | None:
    """Return what a job that is made here has on its row: the step under way, or what the request named."""
    return _written(trace.get_current_span().get_span_context())


def afresh() -> None:
    """Drop the log's ids and the step of the work that has begun this one."""
    structlog.contextvars.clear_contextvars()
    context.attach(Context())


def _recorded(span: Span) -> Span | None:
    return span if span.is_recording() else None


def _read(traceparent: str) -> SpanContext | None:
    """Read a header; None for a malformed one, which the specification says to ignore."""
    found = trace.get_current_span(_W3C.extract({"traceparent": traceparent}))
    return found.get_span_context() if found.get_span_context().is_valid else None


def _written(of: SpanContext) -> str | None:
    if not of.is_valid:
        return None
    return f"00-{_id(of)}-{trace.format_span_id(of.span_id)}-{of.trace_flags:02x}"


def _within(remote: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())


def _id(of: SpanContext) -> str:
    return trace.format_trace_id(of.trace_id)


def _note(span: Span, facts: dict[str, Fact]) -> None:
    for name, fact in facts.items():
        if fact is not None:
            span.set_attribute(_CONVENTIONS.get(name, f"darkroom.{name}"), fact)
