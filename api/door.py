"""What every request passes first: an id, a bound on its body, a line in the log, a measure of time."""

import re
import time

import structlog
from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from models.errors import BodyTooLarge
from models.ids import new, text

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_REQUESTS = Counter("darkroom_http_requests", "Answers", ["method", "route", "status"])
_SECONDS = Histogram("darkroom_http_seconds", "Time to the answer's headers", ["method", "route"])
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SMALL = 1024 * 1024  # bytes of any body but those with an input, which may carry references
_WITH_INPUT = {"/v1/jobs", "/v1/quotes"}


class Door:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, *, submission_max: int) -> None:
        self._app = app
        self._submission_max = submission_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else text("req", new())
        request.state.request_id = request_id
        started, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []), (b"x-request-id", request_id.encode())
                ]  # fmt: skip
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._enter(scope, receive, answer, request)
        finally:
            _measure(scope, status, time.perf_counter() - started)

    async def _enter(self, scope: Scope, receive: Receive, send: Send, request: Request) -> None:
        most = self._submission_max if request.url.path in _WITH_INPUT else _SMALL
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > most:
            await problem(request, _too_large(most))(scope, receive, send)
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _too_large(most)
            return message

        await self._app(scope, bounded, send)


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body has more than {most:,} bytes, the most that this route takes.")


def _measure(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"]
    _REQUESTS.labels(method, route, status).inc()
    _SECONDS.labels(method, route).observe(seconds)
    if route not in {"/healthz", "/readyz", "/metrics"}:
        log.info("http.answered", method=method, route=route, status=status,
                 ms=round(seconds * 1000, 1))  # fmt: skip
