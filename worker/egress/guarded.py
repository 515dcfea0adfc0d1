"""The only way out to an address that a user or the provider chose.

Resolve once, check every answer, connect to that very address with the TLS name and Host kept
(`worker/egress/connection.py`), or use a connection to it that was kept (`kept.py`). No
redirects but a download's, each checked again; no proxies of the environment; one deadline over everything,
because timeouts between bytes never fire on a server that drips.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from socket import AF_UNSPEC, SOCK_STREAM, getaddrinfo
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

from models.platform.addresses import Address, Network, Target, check_reach, check_url
from worker.decoding import links
from worker.egress import asking, trust
from worker.egress.asking import Heard, Request
from worker.egress.connection import Unreachable, plainly
from worker.egress.kept import Kept, Owner
from worker.egress.replies import Reply

Lookup = Callable[[str, int], Sequence[Address]]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 3
_LOOKUPS = 64  # a hostile name server holds a thread for up to half a minute


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
    """Requests to addresses that others chose: each over a connection of its own, or of its owner's alone.

    A request raises `EgressRefused` when the guard refuses the address, `Unreachable` for all else.
    `lookup` returns a name's addresses, or raises `OSError`; the default asks the system. It may
    block: it runs in threads.
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
        self._trusts = ssl_context or trust.authorities()
        self._lookup = lookup or _ask_system
        self._kept = Kept()
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
        await self._kept.close()

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        deadline: timedelta,
        read_max: int,
        owner: Owner | None = None,
    ) -> Answer:
        """Send bytes and wait for the answer: its head, and of its body at most `read_max` bytes.

        With an `owner` over a connection that is kept for it alone. One that turns out to be closed before
        it has said anything is replaced, and the bytes are sent once more.

        What counts is the first line, with the status. What follows it, headers or body, may be too
        long, break off, be garbage, fall silent, or drip until the deadline: it is dropped.
        """
        clock = asyncio.get_running_loop().time
        started, heard = clock(), Heard()
        try:
            with plainly():
                async with asyncio.timeout(deadline.total_seconds()):
                    request = await self._request("POST", self._check(url), read_max)
                    request = replace(request, headers=headers, content=content)
                    await asking.post(self._kept, owner, request, heard)
        except Unreachable:
            if heard.status is None:
                raise
        return Answer(heard.status or 0, heard.headers, timedelta(seconds=clock() - started))

    @asynccontextmanager
    async def download(
        self, url: str, *, deadline: timedelta, max_bytes: int
    ) -> AsyncIterator[Download]:
        """Open a URL for reading, tidied up as a browser would, following at most three redirects.

        The deadline covers the whole `async with`, the reader's own work too. More than `max_bytes`,
        inflated, raises `Unreachable("too_large")` from `chunks`, after at most that many bytes.
        """
        timer = asyncio.timeout(deadline.total_seconds())
        try:
            async with timer, AsyncExitStack() as stack:
                with plainly():
                    reply = await self._follow(stack, url, max_bytes)
                yield Download(reply.status, reply.headers, reply.chunks(max_bytes))
        except TimeoutError:
            if not timer.expired():  # the reader's own
                raise
            raise Unreachable("timeout") from None

    async def _follow(self, stack: AsyncExitStack, url: str, max_bytes: int) -> Reply:
        target = self._check_link(url)
        for _ in range(1 + _REDIRECTS_MAX):
            reply = await asking.fetch(stack, await self._request("GET", target, max_bytes))
            location = reply.response.headers.get("location")
            if reply.status not in _REDIRECTS or location is None:
                return reply
            reply.response.close()
            target = self._check_link(urljoin(target.url, links.clean(location)))
        raise Unreachable("redirect")

    async def _request(self, method: str, target: Target, read_max: int) -> Request:
        """Make a request to the addresses of a target, all of which may be connected to now."""
        answers = await self._resolve(target)
        check_reach(target, answers, exceptions=self._exceptions, ports=self._ports)
        return Request(method, target, answers, self._trusts, read_max)

    async def _resolve(self, target: Target) -> tuple[Address, ...]:
        if target.address is not None:
            return (target.address,)
        try:
            ask = partial(self._lookup, target.host, target.port)
            answers = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except (OSError, UnicodeError) as failure:
            raise Unreachable("dns") from failure
        if not answers:
            raise Unreachable("dns")
        return tuple(answers)

    def _check_link(self, url: str) -> Target:
        """Check a URL that servers wrote: what they mean is plain, and there is nobody to tell."""
        return check_url(
            links.tidy(url) or url,
            exceptions=self._exceptions,
            ports=self._ports,
            longest=links.LONGEST,
        )

    def _check(self, url: str) -> Target:
        return check_url(url, exceptions=self._exceptions, ports=self._ports)


def _ask_system(host: str, port: int) -> Sequence[Address]:
    answers = getaddrinfo(host, port, AF_UNSPEC, SOCK_STREAM)
    return tuple(dict.fromkeys(ip_address(place[0]) for *_, place in answers))
