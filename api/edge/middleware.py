"""What every request passes first: an id, a bound on its body, a line in the log, a measure of time."""

import re
import time
from functools import lru_cache, partial

import structlog
from prometheus_client import Counter, Gauge, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.edge.body_limits import SMALL, BodyLimiter, Pace, too_large
from api.edge.byte_budget import ByteBudget
from api.edge.callers import owner_of, quota_of
from api.edge.callers.shares import leave
from api.edge.heads import as_get
from api.edge.problems import CLIENT_GONE, NOSNIFF, problem
from models.ids import new, text
from models.platform import tracing

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_REQUESTS = Counter("darkroom_http_requests", "Answers", ["method", "route", "status"])
_IN_FLIGHT = Gauge(
    "darkroom_http_requests_in_flight",
    "Requests that are not answered whole, long polls and streams too",
)
_SECONDS = Histogram("darkroom_http_seconds", "Time to the answer's headers", ["method", "route"])
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_WITHOUT_BODY = {"GET"}  # what comes all the same is dropped, not kept
# Which may carry references, and which as a form.
_WITH_INPUT = re.compile(
    r"/v1/(batches|jobs|quotes|jobs/[^/]+/retry|images/(generations|edits)|files)"
)
_WITH_FILES = {"/v1/images/edits", "/v1/files"}
_STREAMED = "/v1/batches"  # its bodies are never in memory
# Of a request, yet: to look in vain for what is not there takes Starlette three times as long.
_NOT_KNOWN = dict.fromkeys(("refused", "caller", "quota", "share_of", "limiter"))
_SERIES = 4096  # kinds of answers that are remembered


class RequestMiddleware:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, *, submission_max: int, bodies_max: int, pace: Pace) -> None:
        self._app = app
        self._submission_max = submission_max
        self._room = ByteBudget(bodies_max)
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, within its bounds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            scope, send = as_get(scope, send)
        scope["state"] = {**_NOT_KNOWN, **scope.get("state", {})}
        request = Request(scope)
        request_id = _identified(request)
        started, status, gone = time.perf_counter(), 500, False

        async def hear() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = CLIENT_GONE if gone else message["status"]
                quota = quota_of(request)
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                    NOSNIFF,
                    *(quota.headers if quota else ()),
                ]
            await send(message)

        _IN_FLIGHT.inc()
        try:
            await self._within(scope, request)(scope, hear, answer)
        finally:
            _IN_FLIGHT.dec()
            leave(request)
            _measure(scope, method, status, time.perf_counter() - started)

    def _within(self, scope: Scope, request: Request) -> ASGIApp:
        """Return what answers: the application, behind a limit where a body may come, or a refusal."""
        refused = getattr(request.state, "refused", None)  # by its connection, for its head
        if refused is not None:
            return problem(request, refused)
        most = self._submission_max if _WITH_INPUT.fullmatch(scope["path"]) else SMALL
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            return problem(request, too_large(most))
        return (
            self._app if request.method in _WITHOUT_BODY else partial(self._limited, request, most)
        )

    async def _limited(
        self, request: Request, most: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        owner = partial(owner_of, request)
        type_ = request.headers.get("content-type", "").lstrip().lower()
        is_form = scope["path"] in _WITH_FILES and type_.startswith("multipart/form-data")
        limiter = BodyLimiter(
            receive,
            self._room,
            self._pace,
            most=most,
            owner=owner,
            is_json=not (is_form or scope["path"] == _STREAMED),
        )
        request.state.limiter = limiter
        try:
            await self._app(scope, limiter.receive, send)
        finally:
            limiter.release()


def _identified(request: Request) -> str:
    """Return a request's id; its log lines have it from now on, with the id of the trace that it names."""
    given = request.headers.get("x-request-id", "")
    request_id = given if _ID.fullmatch(given) else text("req", new())
    request.state.request_id = request_id
    structlog.contextvars.clear_contextvars()  # of the request before, on this connection
    structlog.contextvars.bind_contextvars(request_id=request_id)
    traces = request.headers.getlist("traceparent")
    tracing.enter(traces[0] if len(traces) == 1 else None)  # of several none counts
    return request_id


def _measure(scope: Scope, method: str, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    answers, times = _series(method, route, status)
    answers.inc()
    times.observe(seconds)
    if route not in {"/healthz", "/readyz", "/metrics"}:
        log.info("http.answered", method=method, route=route, status=status,
                 ms=round(seconds * 1000, 1))  # fmt: skip


@lru_cache(_SERIES)
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return where such answers are counted and timed: the client looks for labels under a lock."""
    return _REQUESTS.labels(method, route, status), _SECONDS.labels(method, route)
