"""A connection to addresses that were checked, and what can go wrong on it.

The connector looks nothing up: it is given the checked answers, and every socket is made by `pin`,
which refuses any other address, also for literals, which skip resolvers.

A session whose connections are kept is for one other side, as `kept.py` has it.

What comes in is metered and mended before it is parsed (`worker/egress/wire.py`).
"""

import ssl
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, socket
from types import TracebackType
from typing import Any, Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models.platform.addresses import Address
from worker.egress import wire
from worker.egress.wire import Connector, Meter

Reason = Literal["dns", "connect", "tls", "timeout", "reset", "too_large", "redirect", "protocol"]

# The meter of the request that this task sends over a connection that is kept.
metering: ContextVar[Meter] = ContextVar("metering")

# Seconds without use, and answers, after which a connection is closed.
IDLE_MAX, ANSWERS_MAX = 30.0, 100
_WAITING = 8  # connections to one other side that wait for use
_BUFFER = 64 * 1024  # bytes a connection may hold before the reader has taken them


class Unreachable(Exception):
    """The other side could not be reached, or did not answer as it must; `reason` may be shown."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def open_session(answers: Sequence[Address], meter: Meter) -> aiohttp.ClientSession:
    """Open a session that can connect to these addresses and no other, whatever the URL's name.

    Each request has a connection of its own.
    """
    return _open(_Connector(answers, lambda: meter, force_close=True))


def open_kept(answers: Sequence[Address]) -> aiohttp.ClientSession:
    """Open such a session whose connections are used again; each request sets its own `metering`."""
    return _open(
        _Connector(
            answers,
            metering.get,
            most=ANSWERS_MAX,
            idle=_WAITING,
            keepalive_timeout=IDLE_MAX,
        )
    )


def _open(connector: "_Connector") -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,  # neither proxies nor .netrc
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the deadline is ours
        read_bufsize=_BUFFER,
        **wire.PARSER,
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


class _Connector(Connector):
    def __init__(
        self,
        answers: Sequence[Address],
        meter: Callable[[], Meter],
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(
            meter,
            resolver=_Pinned(answers),
            socket_factory=pin(answers),
            use_dns_cache=False,
            limit=0,
            **options,
        )


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
