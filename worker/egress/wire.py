"""What comes over a connection, metered and mended before aiohttp parses it.

HTTP parsers bound bodies, not what is around them: 1xx answers, empty lines and the extensions of chunks
are no body, have no end, and hold up the whole loop while they last. And they refuse an answer for its
head, which is paid for, or told, all the same: `worker/decoding/heads.py` writes it again.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from worker.decoding.heads import HeadReader


class _Parser(TypedDict):
    max_line_size: int
    max_field_size: int
    max_headers: int


# The bounds are our own: a head's bytes, and the lines that are kept of it.
PARSER: _Parser = {"max_line_size": 1 << 21, "max_field_size": 1 << 21, "max_headers": 1 << 14}


class Meter:
    """How many bytes may still come in: head, framing and body; `overrun` when more came.

    `head` is how many of them may be the head's: beyond, what was said by then is the answer.
    `status` is the answer's, once its first line has come. `silent` until anything comes; `reused` when the
    connection has carried an answer before.
    """

    __slots__ = ("head", "overrun", "reused", "silent", "status", "unread")

    def __init__(self, allowance: int, head: int) -> None:
        self.unread = allowance
        self.head = head
        self.overrun = False
        self.status: int | None = None
        self.silent = True
        self.reused = False


class Connector(aiohttp.TCPConnector):
    """A connector that puts a meter, which `meter` makes for each answer, before the parser.

    A connection that is kept carries `most` answers at most, and `idle` of them wait for the next at most.
    """

    def __init__(
        self,
        meter: Callable[[], Meter],
        *,
        most: int = 1,
        idle: int = 0,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(**options)
        self._meter = meter
        self._most, self._idle = most, idle

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """Take a connection that is kept, which begins anew with a meter of its own, or make one."""
        connection = await super().connect(req, traces, timeout)
        wire = None if connection.protocol is None else _wire_of(connection.protocol)
        if wire is not None:
            wire.begin(self._meter())
        return connection

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        """Keep a connection that may go on, or close it."""
        wire = _wire_of(protocol)
        full = len(self._conns.get(key, ())) >= self._idle
        if wire is None or full or not wire.rests(self._most):
            should_close = True
        super()._release(key, protocol, should_close=should_close)

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> ResponseHandler:
        """Put the meter between the socket and aiohttp's parser, which has no bound of its own."""
        handler = await super()._create_connection(req, traces, timeout)
        if handler.transport is not None:
            handler.transport.set_protocol(_Wire(handler, handler.transport))
        return handler


def headers_of(fields: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Read headers by names in lower case; one that comes again says nothing new, or is added to a list."""
    values: dict[str, dict[str, None]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), {})[value] = None
    return {name: ", ".join(each) for name, each in values.items()}


def _wire_of(handler: ResponseHandler) -> "_Wire | None":
    """Return what stands between aiohttp's parser and its socket; None once that is closed."""
    met = None if handler.transport is None else handler.transport.get_protocol()
    return met if isinstance(met, _Wire) else None


class _Wire(asyncio.Protocol):
    """One connection: an answer, and where it may be kept, rest, until the next begins."""

    __slots__ = ("_answers", "_deaf", "_handler", "_head", "_keeps", "_meter", "_transport")

    def __init__(self, handler: ResponseHandler, transport: asyncio.Transport) -> None:
        self._handler, self._transport = handler, transport
        self._meter: Meter | None = None  # while it rests
        self._head: HeadReader | None = None
        self._deaf = self._keeps = False
        self._answers = 0

    def begin(self, meter: Meter) -> None:
        """Expect the next answer."""
        meter.reused = self._answers > 0
        self._answers += 1
        self._meter, self._head = meter, HeadReader(meter.head)
        self._deaf = self._keeps = False

    def rests(self, most: int) -> bool:
        """Expect nothing until the next one begins; False when the connection must not go on."""
        self._meter = None
        return self._keeps and self._answers < most

    def data_received(self, data: bytes) -> None:
        meter = self._meter
        if meter is None:  # nobody has asked
            self._transport.abort()
            return
        meter.silent = False
        meter.overrun = meter.overrun or len(data) > meter.unread
        given = data[: meter.unread]
        meter.unread -= len(given)
        if given:
            self._take(meter, given)
        if meter.overrun:
            self._transport.abort()

    def eof_received(self) -> None:
        self._end_head()
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def _end_head(self) -> None:
        """Pass on what was said of a head that broke off: the status, and perhaps what the call cost."""
        meter, head = self._meter, self._head
        if meter is not None and head is not None and head.status is not None:
            self._take(meter, b"", last=True)

    def _take(self, meter: Meter, data: bytes, *, last: bool = False) -> None:
        if self._head is None:
            self._give(data)
            return
        head = self._head.feed(data, last=last or meter.overrun)
        meter.status = self._head.status
        if head is None:
            return
        self._head = None
        self._keeps = head.keeps
        meter.overrun = meter.overrun or not (head.whole or last)
        if head.text:
            self._give(head.text)
        self._deaf = head.bodiless
        if head.rest:
            self._give(head.rest)

    def _give(self, data: bytes) -> None:
        if not self._deaf:
            self._pass_on(data)
        # More than an answer came, of which nobody knows what it would answer next.
        self._keeps = self._keeps and not self._deaf
        if self._meter is None and (self._deaf or self._handler.should_close):
            self._transport.abort()

    def _pass_on(self, data: bytes) -> None:
        handler = self._handler
        handler.data_received(data)
        # The parser drops a body that it cannot follow any more, and tells nobody who reads it.
        body = handler._payload  # noqa: SLF001 - there is no public name
        if handler.exception() is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError("the body's framing is broken"))
