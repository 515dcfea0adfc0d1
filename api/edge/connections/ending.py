"""How a connection ends: refused, left while idle, drained, or after the other end has closed."""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.edge.connections.crowd import CLOSED, Crowd
from api.edge.connections.joining import Joining
from api.edge.connections.receipts import LATE_SECONDS
from api.edge.connections.refusing import written
from models.errors import Refusal, TooSlow

_LINGER_SECONDS = 1.0  # so that a refusal is read before the connection is reset


class Ending(HttpToolsProtocol):
    """The ends of a connection of HTTP/1.1; `Connection` has what comes before."""

    # Instances share one table of names up to 30 of them, and uvicorn's own are nearly as many: more, and
    # each of thousands of waiting clients has 1 KB of its own.
    __slots__ = (
        *("_answers", "_crowd", "_deadline", "_head_seconds", "_in_head", "_lingers"),
        *("_refused", "_running", "_unmoved"),
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        crowd: Crowd,
        head_seconds: float,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd = crowd
        self._head_seconds = head_seconds
        self._refused = False  # whatever comes is dropped
        self._in_head = False
        self._unmoved = 0  # bytes since the last that brought a request on
        self._deadline: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._answers: Joining | None = None
        self._lingers = False  # behind the answer under way, until the other end closes

    def leave(self) -> None:
        """Close a connection on which no request is under way."""
        self.transport.close()

    def shutdown(self) -> None:
        """Close, or with the answer to what is under way; half a head has its time as ever."""
        if not self._in_head:
            super().shutdown()

    def drain(self) -> None:
        """Mark the answer under way as the last one of this connection."""
        if self._running is not None and not self._running.response_started:
            self._running.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401
        self._running = cycle
        self._answers = Joining(self.transport, self.loop)
        cycle.transport = cast("asyncio.Transport", self._answers)
        cycle.keep_alive = cycle.keep_alive and not self._crowd.draining

        def answered(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            async def told(message: Message) -> None:
                if cycle.response_started and not message.get("more_body", False):
                    self._stay_for_the_rest(cycle)
                await send(message)

            return cast("Awaitable[None]", app(scope, receive, told))

        super()._start_asgi_task(cycle, cast("Any", answered))

    def _stay_for_the_rest(self, cycle: RequestResponseCycle) -> None:
        """Stay while more of a request may come: bytes for a closed socket reset it, answer and all."""
        if cycle.more_body or self._refused:
            self._stay()

    def _stay(self) -> None:
        """Behind the answer under way, let the other end close first, if it was to be the last one."""
        if self._running is not None and not self._running.keep_alive:
            self._running.keep_alive = self._lingers = True

    def _linger(self) -> None:
        """Close our half, and wait until the other end closes its own (RFC 9112, 9.6)."""
        self._refused, self._unmoved = True, 0
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._cancel_deadline()
        self._deadline = self.loop.call_later(LATE_SECONDS, self.transport.close)
        self._crowd.rest(self)

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        seconds = f"{self._head_seconds:g}"
        self._refuse(TooSlow(f"The headers were not complete within {seconds} s."))

    def _refuse(self, refused: Refusal) -> None:
        """End a connection whose bytes are no request: with an answer, where none is under way."""
        self._refused = True
        CLOSED.labels(refused.code).inc()
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        running = self._running if self._busy else None
        if running is not None and (running.response_started or not running.more_body):
            running.keep_alive = False  # it is answered whole, and nothing after it
            self.flow.pause_reading()
            return
        if running is None and self._running is not None and self._running.more_body:
            self.transport.abort()  # it is answered already, and this was the rest of its body
            return
        if running is not None:
            running.disconnected = True
            running.message_event.set()
        self._answer(refused)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _answer(self, refused: Refusal) -> None:
        """Answer by hand: there is no request that an app could answer."""
        self.transport.write(written(refused, getattr(self, "url", b""), self.config.app))
