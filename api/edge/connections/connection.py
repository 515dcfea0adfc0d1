"""One client's connection: uvicorn's own protocol, with the bounds that it lacks.

What comes before a request is whole is held by nobody else's bound: the bytes of its head, their number,
their time. uvicorn's httptools takes a head of any length, at any pace, and any number of requests at once.
"""

import asyncio
from datetime import timedelta
from typing import Any, cast

import httptools

from api.edge.connections.crowd import Crowd
from api.edge.connections.ending import Ending
from api.edge.connections.receipts import Receipts
from api.edge.connections.refusing import (
    HEAD_MAX,
    TOO_LARGE,
    URL_MAX,
    judge,
    too_long,
)
from models.errors import MalformedRequest, Unavailable

_PIPELINED_MAX = 16  # requests sent ahead of their answers
_STALLED_SECONDS = 60.0  # a client that reads nothing of what it is sent
_LINGER_MAX = 1024 * 1024  # bytes that are dropped behind a refusal


class Connection(Ending):
    """A connection of HTTP/1.1 from its first byte to its last."""

    __slots__ = ("_address", "_joined", "_receipts", "_stalled")

    def __init__(self, *given: Any, **bounds: Any) -> None:  # noqa: ANN401 - uvicorn's own, and `Ending`'s
        super().__init__(*given, **bounds)
        self._address = ""
        self._joined = False
        self._stalled: asyncio.TimerHandle | None = None
        self._receipts = Receipts(self.loop.time, self._stay)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a client, or refuse it when there is no room."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._joined = self._crowd.join(self, self._address)
        if self._joined:
            self._wait_for_more()
        else:
            self._refused = True
            self._answer(Unavailable("There are too many connections; try again in a moment."))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        if self._joined:
            self._crowd.quit(self, self._address)
        for timer in (self._deadline, self._stalled, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        for cycle, _ in self.pipeline:
            cycle.disconnected = True
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        self._receipts.closed(reset=exc is not None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, within the bounds."""
        self._unmoved += len(data)
        if self._refused:
            if self._unmoved > _LINGER_MAX:
                self.transport.abort()
            return
        self._feed(data)
        if self._refused:
            return
        if self._in_head or self._busy:
            self._unset_keepalive_if_required()
        if self._unmoved > HEAD_MAX:
            # Trailers or extensions of chunks without an end, or a head of which we know no end yet.
            self._refuse(too_long(self.url) if self._in_head else TOO_LARGE)
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(self._head_seconds, self._give_up)

    def eof_received(self) -> None:
        """Nothing: who has sent all may still read."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._unmoved = True, 0
        self._receipts.read()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what follows a body (a trailer) is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start on a request whose head is whole, or have it refused as any other is."""
        self._in_head, self._unmoved = False, 0
        self._cancel_deadline()
        if len(self.pipeline) >= _PIPELINED_MAX:
            raise _PipelinedTooMuchError
        if (refused := judge(self.url, self.headers)) is not None:
            self.url, self.headers[:] = self.url[:URL_MAX], []
            self.scope["state"]["refused"] = refused
        self.scope["state"]["receipts"] = self._receipts
        self._crowd.work(self)
        super().on_headers_complete()
        if self._crowd.draining or self.scope["state"].get("refused"):
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Hand on what came of a body."""
        self._unmoved = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has ended."""
        self._unmoved = 0
        self._cancel_deadline()
        super().on_message_complete()
        if not self._busy:
            self._wait_for_more()

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead, or wait for more."""
        if self._answers is not None:
            self._answers.flush()  # an answer without a body is its head
        if self._lingers:
            self._linger()
            return
        unread = self._running is not None and self._running.more_body
        super().on_response_complete()
        if self._busy or self.transport.is_closing():
            return
        self._crowd.rest(self)
        if unread and self._deadline is None:
            self._deadline = self.loop.call_later(self._head_seconds, self.leave)

    def pause_writing(self) -> None:
        """Stop writing to a client that does not read, and not for ever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nobody here speaks another protocol: the request is answered, and what follows is HTTP.
            self.parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self._feed(rest)
        except httptools.HttpParserError:
            self._refuse(MalformedRequest("This is not HTTP/1.1; correct the request."))

    def _wait_for_more(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )


class _PipelinedTooMuchError(Exception):
    """More requests were sent ahead than anybody does."""


def protocol(crowd: Crowd, head_timeout: timedelta) -> type[asyncio.Protocol]:
    """Return what uvicorn makes a connection with."""

    def made(**given: Any) -> Connection:  # noqa: ANN401 - uvicorn's own
        return Connection(**given, crowd=crowd, head_seconds=head_timeout.total_seconds())

    return cast("type[asyncio.Protocol]", made)
