"""The line to the provider: httpx over aiohttp, a fresh connection for each call.

httpx's own pool costs a time that grows with the square of the connections; aiohttp's does not. A
fresh connection each, because a kept one that turns out to be stale would make a paid call
ambiguous.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import SecretStr

from worker.egress import wire

# A 4096 x 4096 image is about 3.3 MB, a third more in base 64. Beyond this, somebody is mistaken.
BODY_MAX = 64 * 1024 * 1024
# A head beyond this ends a call as lost, with what its first mebibyte said.
_HEAD_MAX = 1024 * 1024
_PIECE = 64 * 1024
_LATE = 1.0  # seconds by which a loop that runs never misses a deadline
_LAST_LOOK = 5.0  # seconds to read what had come before a deadline that was slept through
# RFC 6750's token, and whatever else is printable ASCII without spaces.
_KEY = re.compile(r"[!-~]+")


class TooLarge(Exception):
    """The answer's body is longer than `BODY_MAX` bytes."""


@dataclass(slots=True)
class Reply:
    """As much of an answer as came.

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

        Read from what aiohttp raised, never from the httpx class: httpx-aiohttp reports a
        connection that was reset *after* the request as `httpx.ConnectTimeout`. aiohttp raises
        these two only while it opens the connection (name, TCP, TLS).
        """
        if self.status is not None or self.failure is None:
            return True
        never = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
        return not any(isinstance(e, never) for e in (self.failure, self.failure.__cause__))


def open_client(base_url: str, connect_timeout: timedelta) -> httpx.AsyncClient:
    """Make the client; call it inside the event loop that will use it, and close it there.

    Raises ValueError for a base URL that is not http or https.
    """
    url = httpx.URL(base_url)
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise ValueError("the provider's base URL must be http(s)://host[:port][/path]")
    url.host.encode("idna")  # UnicodeError, a ValueError: no resolver takes such a name
    tls = _tls()
    session = aiohttp.ClientSession(
        connector=wire.Connector(_meter, limit=0, force_close=True, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        **wire.PARSER,
    )
    connect = connect_timeout.total_seconds()
    return httpx.AsyncClient(
        base_url=url,
        transport=AiohttpTransport(verify=tls, trust_env=False, client=session),
        trust_env=False,
        follow_redirects=False,
        # `pool` becomes aiohttp's `connect`, which bounds the look-up of the name and all
        # addresses together. No read timeout: the whole exchange has one deadline, and a drip
        # would never trip it.
        timeout=httpx.Timeout(None, connect=connect, pool=connect),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # 200 kB of gzip may hold 200 MB
            "User-Agent": "darkroom",
        },
    )


def bearer(key: SecretStr) -> str:
    """Write the Authorization header; raises ValueError, without the key, if it cannot be one."""
    written = key.get_secret_value()
    if not _KEY.fullmatch(written):
        raise ValueError("the provider's key is empty, or has characters that no header can carry")
    return f"Bearer {written}"


async def exchange(client: httpx.AsyncClient, request: httpx.Request, limit: timedelta) -> Reply:
    """Send a request and read all of its answer within `limit`.

    Raises nothing but CancelledError: whatever breaks is in the reply, beside what had come by
    then.
    """
    reply = Reply()
    reading = asyncio.create_task(_read(client, request, reply))
    try:
        await _wait(reading, limit.total_seconds())
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    if reading.cancelled():
        reply.failure = TimeoutError()
    return reply


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Return a request's body in pieces, so that one of many megabytes does not hold up the loop."""
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


async def _read(client: httpx.AsyncClient, request: httpx.Request, reply: Reply) -> None:
    try:
        response = await client.send(request, stream=True)
        try:
            reply.status = response.status_code
            reply.headers = wire.headers_of(response.headers.multi_items())
            await _read_body(response, reply)
        finally:
            await response.aclose()
    except Exception as failure:  # noqa: BLE001 -- whatever broke, the call may have been paid for
        reply.failure = failure


async def _wait(reading: "asyncio.Task[None]", seconds: float) -> None:
    """Wait for the answer until the deadline.

    One that is noticed late was slept through by this process, frozen or starved; the answer may
    lie in the socket, paid, and is read first.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    await asyncio.wait({reading}, timeout=seconds)
    if clock() > deadline + _LATE:
        await asyncio.wait({reading}, timeout=_LAST_LOOK)


async def _read_body(response: httpx.Response, reply: Reply) -> None:
    # As it comes: httpx would inflate without bound, and refuse what is not compressed after all.
    async for piece in response.aiter_raw():
        reply.part += piece
        if len(reply.part) > BODY_MAX:
            raise TooLarge
    reply.body = bytes(reply.part)


def _meter() -> wire.Meter:
    return wire.Meter(_HEAD_MAX + 2 * BODY_MAX, _HEAD_MAX)


@cache
def _tls() -> ssl.SSLContext:
    """Read the certificate authorities once: it takes 20 ms of the loop."""
    return httpx.create_ssl_context()
