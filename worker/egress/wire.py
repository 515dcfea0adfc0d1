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
    `status` is the answer's, once its first line has come.
    """

    def __init__(self, allowance: int, head: int) -> None:
        self.unread = allowance
        self.head = head
        self.overrun = False
        self.status: int | None = None


class Connector(aiohttp.TCPConnector):
    """A connector that puts a meter, which `meter` makes for each connection, before the parser."""

    def __init__(self, meter: Callable[[], Meter], **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(**options)
        self._meter = meter

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> ResponseHandler:
        """Put the meter between the socket and aiohttp's parser, which has no bound of its own."""
        handler = await super()._create_connection(req, traces, timeout)
        if handler.transport is not None:
            handler.transport.set_protocol(_Wire(handler, handler.transport, self._meter()))
        return handler


def headers_of(fields: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Read headers by names in lower case; one that comes again says nothing new, or is added to a list."""
    values: dict[str, dict[str, None]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), {})[value] = None
    return {name: ", ".join(each) for name, each in values.items()}


class _Wire(asyncio.Protocol):
    def __init__(
        self, handler: ResponseHandler, transport: asyncio.Transport, meter: Meter
    ) -> None:
        self._handler, self._transport, self._meter = handler, transport, meter
        self._head: HeadReader | None = HeadReader(meter.head)
        self._deaf = False

    def data_received(self, data: bytes) -> None:
        meter = self._meter
        meter.overrun = meter.overrun or len(data) > meter.unread
        given = data[: meter.unread]
        meter.unread -= len(given)
        if given:
            self._take(given)
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
        if self._head is not None and self._head.status is not None:
            self._take(b"", last=True)

    def _take(self, data: bytes, *, last: bool = False) -> None:
        if self._head is None:
            self._give(data)
            return
        head = self._head.feed(data, last=last or self._meter.overrun)
        self._meter.status = self._head.status
        if head is None:
            return
        self._head = None
        self._meter.overrun = self._meter.overrun or not (head.whole or last)
        if head.text:
            self._give(head.text)
        self._deaf = head.bodiless
        if head.rest:
            self._give(head.rest)

    def _give(self, data: bytes) -> None:
        if self._deaf:
            return
        handler = self._handler
        handler.data_received(data)
        # The parser drops a body that it cannot follow any more, and tells nobody who reads it.
        body = handler._payload  # noqa: SLF001 - there is no public name
        if handler.exception() is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError("the body's framing is broken"))
