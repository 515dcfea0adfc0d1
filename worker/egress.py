"""The only way out to an address that a user or the provider chose.

Resolve once, check every answer, connect to that very address with the TLS name and Host kept
(`worker/connection.py`). No redirects but a download's, each checked again; no proxies of the
environment; one deadline over everything, because timeouts between bytes never fire on a server
that drips them; nothing is ever inflated, so a byte in memory was a byte on the wire.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from socket import AF_UNSPEC, SOCK_STREAM, getaddrinfo
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from models.addresses import Address, Network, Target, check_reach, check_url
from worker.connection import Unreachable, open_session, plainly

Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 3
_CHUNK = 64 * 1024  # bytes given to a reader at once, at most
_LOOKUPS = 64  # a hostile name server holds a thread for up to half a minute
_HEADERS = {"user-agent": "Darkroom", "accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True)
class Answer:
    """What the other side said to a `post`; the names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    elapsed: timedelta


@dataclass(frozen=True)
class Download:
    """An answer whose body is still to come; the names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Egress:
    """Requests to addresses that others chose, each over a connection of its own.

    A request raises `EgressRefused` when the guard refuses the address, `Unreachable` for all else.
    `lookup` gives a name's addresses, or raises `OSError`; the default asks the system.
    """

    def __init__(
        self,
        exceptions: Sequence[Network],
        ports: AbstractSet[int],
        ssl_context: ssl.SSLContext | None = None,
        *,
        lookup: Lookup | None = None,
    ) -> None:
        self._exceptions = exceptions
        self._ports = ports
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._lookup = lookup or self._ask_system
        # Not the loop's own executor: names that hang must not hold up anybody else's threads.
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="egress-lookup")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        deadline: timedelta,
        read_max: int,
    ) -> Answer:
        """Send bytes and wait for the whole answer, of which at most `read_max` bytes are read.

        A longer body is cut off, not an error: what counts, the status, has been said by then.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        with plainly():
            async with asyncio.timeout(deadline.total_seconds()), AsyncExitStack() as stack:
                target = self._check(url)
                response = await self._send(stack, "POST", target, headers, content)
                unread = read_max
                while unread > 0 and (chunk := await response.content.read(unread)):
                    unread -= len(chunk)
                elapsed = timedelta(seconds=clock() - started)
                return Answer(response.status, _headers_of(response), elapsed)

    @asynccontextmanager
    async def download(
        self, url: str, *, deadline: timedelta, max_bytes: int
    ) -> AsyncIterator[Download]:
        """Open a URL for reading, following at most three redirects.

        The deadline covers the whole `async with`, the reader's own work too. More than `max_bytes`
        raises `Unreachable("too_large")` from `chunks`, after at most that many bytes.
        """
        timer = asyncio.timeout(deadline.total_seconds())
        try:
            async with timer, AsyncExitStack() as stack:
                with plainly():
                    response = await self._follow(stack, url)
                chunks = _chunks(response, max_bytes)
                yield Download(response.status, _headers_of(response), chunks)
        except TimeoutError:
            if not timer.expired():  # the reader's own
                raise
            raise Unreachable("timeout") from None

    async def _follow(self, stack: AsyncExitStack, url: str) -> aiohttp.ClientResponse:
        target = self._check(url)
        for _ in range(1 + _REDIRECTS_MAX):
            response = await self._send(stack, "GET", target, {}, None)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            target = self._check(urljoin(target.url, location))
        raise Unreachable("redirect")

    async def _send(
        self,
        stack: AsyncExitStack,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        content: bytes | None,
    ) -> aiohttp.ClientResponse:
        answers = await self._resolve(target)
        check_reach(target, answers, exceptions=self._exceptions, ports=self._ports)
        session = await stack.enter_async_context(open_session(answers))
        response = await stack.enter_async_context(
            session.request(
                method,
                URL(target.url, encoded=True),  # as it was checked: nothing is quoted again
                headers={**headers, **_HEADERS},
                data=content,
                allow_redirects=False,
                ssl=self._ssl_context,
            )
        )
        stack.callback(response.close)  # leaving must not wait for a body that nobody reads
        return response

    async def _resolve(self, target: Target) -> tuple[Address, ...]:
        if target.address is not None:
            return (target.address,)
        try:
            answers = tuple(await self._lookup(target.host, target.port))
        except (OSError, UnicodeError) as failure:
            raise Unreachable("dns") from failure
        if not answers:
            raise Unreachable("dns")
        return answers

    async def _ask_system(self, host: str, port: int) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        ask = partial(getaddrinfo, host, port, AF_UNSPEC, SOCK_STREAM)
        answers = await loop.run_in_executor(self._threads, ask)
        return tuple(dict.fromkeys(ip_address(place[0]) for *_, place in answers))

    def _check(self, url: str) -> Target:
        return check_url(url, exceptions=self._exceptions, ports=self._ports)


async def _chunks(response: aiohttp.ClientResponse, max_bytes: int) -> AsyncIterator[bytes]:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unreachable("protocol")  # it was told to send the bytes as they are
    unread = max_bytes
    if (response.content_length or 0) > unread:
        raise Unreachable("too_large")
    while True:
        with plainly():
            chunk = await response.content.read(_CHUNK)
        if not chunk:
            return
        unread -= len(chunk)
        if unread < 0:
            raise Unreachable("too_large")
        yield chunk


def _headers_of(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
