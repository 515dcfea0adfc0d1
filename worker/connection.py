"""A connection to addresses that were checked, and what can go wrong on it.

The connector looks nothing up: it is given the checked answers, and every socket is made by `pin`,
which refuses any other address, also for literals, which skip resolvers.

What comes in is metered before it is parsed: 1xx answers, empty lines and the extensions of chunks
are no body, have no end, and hold up the whole loop while they last.
"""

import asyncio
import ssl
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, socket
from types import TracebackType
from typing import Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from models.addresses import Address

Reason = Literal["dns", "connect", "tls", "timeout", "reset", "too_large", "redirect", "protocol"]

_BUFFER = 64 * 1024  # bytes a connection may hold before the reader has taken them


class Unreachable(Exception):
    """The other side could not be reached, or did not answer as it must; `reason` may be shown."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Meter:
    """How many bytes may still come in: head, framing and body; `overrun` when more came."""

    def __init__(self, allowance: int) -> None:
        self.unread = allowance
        self.overrun = False


def open_session(answers: Sequence[Address], meter: Meter) -> aiohttp.ClientSession:
    """Open a session that can connect to these addresses and no other, whatever the URL's name."""
    return aiohttp.ClientSession(
        connector=_Connector(answers, meter),
        trust_env=False,  # neither proxies nor .netrc
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the deadline is ours
        read_bufsize=_BUFFER,
    )


def pin(answers: Sequence[Address]) -> aiohttp.SocketFactoryType:
    """Make sockets for these addresses only; any other raises `PermissionError`.

    An `OSError`, because aiohttp's race for the first connection loses track of anything else.
    """

    def make(info: aiohttp.AddrInfoType) -> socket:
        family, kind, protocol, _, place = info
        if ip_address(place[0]) not in answers:
            raise PermissionError("not one of the addresses that were checked")
        return socket(family, kind, protocol)

    return make


class plainly:  # noqa: N801 - used as a verb, like `suppress`
    """Turn what aiohttp, TLS and the system raise into `Unreachable`."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(failure, aiohttp.ClientError | OSError | ValueError):
            return
        if self._meter is not None and self._meter.overrun:
            raise Unreachable("too_large") from failure
        raise Unreachable(_reason(failure)) from failure


def _reason(failure: Exception) -> Reason:
    match failure:
        case TimeoutError():
            return "timeout"
        case ssl.SSLError() | aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError():
            return "connect"
        case aiohttp.ClientResponseError() | ValueError():
            return "protocol"
        case _:
            return "reset"


class _Connector(aiohttp.TCPConnector):
    def __init__(self, answers: Sequence[Address], meter: Meter) -> None:
        super().__init__(
            resolver=_Pinned(answers),
            socket_factory=pin(answers),
            use_dns_cache=False,
            force_close=True,
            limit=0,
        )
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
            handler.transport.set_protocol(_Metered(handler, handler.transport, self._meter))
        return handler


class _Metered(asyncio.Protocol):
    def __init__(
        self, handler: ResponseHandler, transport: asyncio.Transport, meter: Meter
    ) -> None:
        self._handler, self._transport, self._meter = handler, transport, meter

    def data_received(self, data: bytes) -> None:
        meter = self._meter
        meter.overrun = meter.overrun or len(data) > meter.unread
        given = data[: meter.unread]
        meter.unread -= len(given)
        if given:
            self._handler.data_received(given)
        if meter.overrun:
            self._transport.abort()

    def eof_received(self) -> None:
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


class _Pinned(AbstractResolver):
    def __init__(self, answers: Sequence[Address]) -> None:
        self._answers = answers

    async def resolve(self, host: str, port: int = 0, family: int = AF_INET) -> list[ResolveResult]:
        del family  # aiohttp is asked for any
        return [
            ResolveResult(
                hostname=host,
                host=str(answer),
                port=port,
                family=AF_INET6 if isinstance(answer, IPv6Address) else AF_INET,
                proto=0,
                flags=AI_NUMERICHOST,
            )
            for answer in self._answers
        ]

    async def close(self) -> None:
        """Nothing is held."""
