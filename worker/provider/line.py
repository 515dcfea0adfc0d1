"""The line to the provider: a fresh connection for each call, and one deadline over all of it.

A fresh connection each, because a kept one that turns out to be stale would make a paid call
ambiguous.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType

import aiohttp
from pydantic import SecretStr
from yarl import URL

from worker.egress import trust, wire

# A 4096 x 4096 image is about 3.3 MB, a third more in base 64. Beyond this, somebody is mistaken.
BODY_MAX = 64 * 1024 * 1024
# A head beyond this ends a call as lost, with what its first mebibyte said.
_HEAD_MAX = 1024 * 1024
_PIECE = 64 * 1024
_LATE = 0.1  # seconds by which a loop that runs hardly ever misses a deadline
# Seconds to read what had come by the deadline: at once, and where the deadline was slept through.
_GLANCE, _LAST_LOOK = 0.05, 5.0
# RFC 6750's token, and whatever else is printable ASCII without spaces.
_KEY = re.compile(r"[!-~]+")
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # 200 kB of gzip may hold 200 MB
    "User-Agent": "darkroom",
}


class TooLarge(Exception):
    """The answer's body is longer than `BODY_MAX` bytes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the provider is asked for; `path` is one below its base URL."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # the key among them
    query: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(slots=True)
class Reply:
    """As much of an answer as came; the names in `headers` are in lower case.

    `body` is None unless all of it did, `part` is what did; `failure` says what broke.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    part: bytearray = field(default_factory=bytearray)
    failure: Exception | None = None

    @property
    def sent(self) -> bool:
        """Whether any of the request may have left.

        aiohttp raises these two only while it opens the connection (name, TCP, TLS).
        """
        never = aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError
        return self.status is not None or not isinstance(self.failure, never)


class Line:
    """The way to the provider; make it inside the event loop that will use it, and close it there.

    Raises ValueError for a base URL that is none. `connect_timeout` bounds name, TCP and TLS together.
    """

    def __init__(self, base_url: str, connect_timeout: timedelta) -> None:
        self._base = _base(base_url)
        self._session = aiohttp.ClientSession(
            connector=wire.Connector(_meter, limit=0, force_close=True, ssl=trust.authorities()),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # neither proxies nor .netrc
            auto_decompress=False,  # it would inflate without bound, and refuse what is not compressed
            headers=_HEADERS,
            # No read timeout: the whole exchange has one deadline, and a drip would never trip it.
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout.total_seconds()),
            **wire.PARSER,
        )

    async def exchange(self, request: Request, limit: timedelta) -> Reply:
        """Send a request and read all of its answer within `limit`.

        Raises nothing but CancelledError: whatever breaks is in the reply, beside what had come by
        then.
        """
        reply, task = Reply(), asyncio.current_task()
        asked_to_end = 0 if task is None else task.cancelling()
        try:
            async with _ended(limit.total_seconds()):
                await self._read(request, reply)
        except asyncio.CancelledError:
            if task is not None and task.cancelling() > asked_to_end:
                raise
            # Not ours: aiohttp hands on that of a look-up which ended when the line was closed.
            reply.failure = ConnectionAbortedError()
        except Exception as failure:  # noqa: BLE001 -- whatever broke, the call may have been paid for
            reply.failure = failure
        return reply

    async def close(self) -> None:
        """Close what is still open."""
        await self._session.close()

    async def _read(self, request: Request, reply: Reply) -> None:
        content = request.content
        async with self._session.request(
            request.method,
            URL(self._base + request.path).with_query(request.query),
            headers={**request.headers, **_length(content)},
            data=content if content is None or len(content) <= _PIECE else _pieces(content),
            allow_redirects=False,
        ) as response:
            reply.status = response.status
            reply.headers = wire.headers_of(map(_written, response.raw_headers))
            async for piece in response.content.iter_any():
                reply.part += piece
                if len(reply.part) > BODY_MAX:
                    raise TooLarge
            reply.body = bytes(reply.part)


def bearer(key: SecretStr) -> str:
    """Write the Authorization header; raises ValueError, without the key, if it cannot be one."""
    written = key.get_secret_value()
    if not _KEY.fullmatch(written):
        raise ValueError("the provider's key is empty, or has characters that no header can carry")
    return f"Bearer {written}"


def _base(written: str) -> str:
    """Check the provider's base URL; returns what a path is appended to."""
    if not written.isprintable() or " " in written:  # which some readers pass over
        raise ValueError(f"the provider's base URL has what no URL has: {written!a}")
    try:
        url = URL(written)
        (url.host or "").encode("idna")  # no resolver takes what this refuses
    except ValueError as unread:
        raise ValueError(f"the provider's base URL cannot be read: {unread}") from None
    more = url.user is not None or url.password is not None or url.query_string or url.fragment
    if url.scheme not in {"http", "https"} or not url.host or more:
        raise ValueError("the provider's base URL must be http(s)://host[:port][/path]")
    return str(url).rstrip("/")


class _ended:  # noqa: N801 - used as a verb, like `suppress`
    """End what is done inside with TimeoutError at the deadline.

    What has come by then may lie in the socket, paid, and is read first: for a moment, or longer where the
    deadline is noticed late, for then this process slept through it, frozen or starved.
    """

    __slots__ = ("_deadline", "_seconds", "_timeout", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self._seconds
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._timer = loop.call_at(self._deadline, self._strike)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, failure, traceback)

    def _strike(self) -> None:
        now = asyncio.get_running_loop().time()
        late = now > self._deadline + _LATE
        self._timeout.reschedule(now + (_LAST_LOOK if late else _GLANCE))


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """Return a request's body in pieces, so that one of many megabytes does not hold up the loop."""
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _length(content: bytes | None) -> Mapping[str, str]:
    """Say how long a body is, which aiohttp cannot know of one that comes in pieces."""
    return {} if content is None else {"Content-Length": str(len(content))}


def _written(header: tuple[bytes, bytes]) -> tuple[str, str]:
    """Read a header as UTF-8, or, where it is none, as Latin-1, which has a letter for every byte."""
    name, value = header
    try:
        return name.decode(), value.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1"), value.decode("latin-1")


def _meter() -> wire.Meter:
    return wire.Meter(_HEAD_MAX + 2 * BODY_MAX, _HEAD_MAX)
