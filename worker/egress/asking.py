"""One request to addresses that were checked, over a connection of its own or one that is kept."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Literal

import aiohttp
from yarl import URL

from models.platform.addresses import Address, Target
from worker.egress.connection import Unreachable, metering, open_session, plainly
from worker.egress.kept import Kept, Owner
from worker.egress.replies import Reply
from worker.egress.wire import Meter

_HEAD = 256 * 1024  # bytes of an answer's head; of a longer one to a post the status counts
_FRAMING = 64 * 1024  # bytes around a body; those around chunks may be as many as they carry
_HEADERS = {"user-agent": "Darkroom", "accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True)
class Request:
    """What is asked of a target at these addresses; of the answer's body `read_max` bytes count."""

    method: str
    target: Target
    answers: Sequence[Address]
    ssl: SSLContext | Literal[True]  # as aiohttp takes it
    read_max: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass
class Heard:
    """What had come of the answer to a post when that ended, in whatever way."""

    headers: dict[str, str] = field(default_factory=dict)
    _meter: Meter | None = None

    @property
    def status(self) -> int | None:
        """The HTTP status, once the first line of the answer had come."""
        return None if self._meter is None else self._meter.status

    def anew(self, read_max: int) -> Meter:
        """Begin with another answer: return the meter that reads it."""
        self._meter = _metered(read_max)
        return self._meter


async def fetch(stack: AsyncExitStack, request: Request) -> Reply:
    """Ask over a connection of its own, which ends with the stack."""
    meter = _metered(request.read_max)
    session = await stack.enter_async_context(open_session(request.answers, meter))
    return await _ask(stack, session, request, meter)


async def post(kept: Kept, owner: Owner | None, request: Request, heard: Heard) -> None:
    """Ask over a connection that is kept for its owner, if it has one, and read the answer away.

    One that had been closed meanwhile, before it said anything, is no answer: then, and without an owner,
    over a connection of its own.
    """
    if owner is not None:
        async with kept.session(owner, request.target, request.answers) as session:
            meter = heard.anew(request.read_max)
            try:
                await _post(session, request, meter, heard)
            except Unreachable as failed:
                if failed.reason != "reset" or not (meter.reused and meter.silent):
                    raise
                kept.doubt(owner)
            else:
                return
    meter = heard.anew(request.read_max)
    async with open_session(request.answers, meter) as session:
        await _post(session, request, meter, heard)


async def _post(
    session: aiohttp.ClientSession, request: Request, meter: Meter, heard: Heard
) -> None:
    async with AsyncExitStack() as stack:
        reply = await _ask(stack, session, request, meter)
        heard.headers.update(reply.headers)
        await reply.read_away(request.read_max)


async def _ask(
    stack: AsyncExitStack, session: aiohttp.ClientSession, request: Request, meter: Meter
) -> Reply:
    metering.set(meter)
    with plainly(meter):
        response = await stack.enter_async_context(
            session.request(
                request.method,
                URL(request.target.url, encoded=True),  # as it was checked: nothing is quoted again
                headers={**request.headers, **_HEADERS},
                data=request.content,
                allow_redirects=False,
                ssl=request.ssl,
            )
        )
    stack.callback(response.close)  # leaving must not wait for a body that nobody reads
    return Reply(response, meter)


def _metered(max_bytes: int) -> Meter:
    return Meter(_HEAD + _FRAMING + 2 * max_bytes, _HEAD)
