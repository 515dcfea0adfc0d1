"""What a process takes in of a body while it comes: bounded in size, in time, and in what all hold."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from starlette.types import Message, Receive

from api.edge.byte_budget import ByteBudget, Hold
from models.errors import BodyTooLarge, TooSlow

SMALL = 1024 * 1024  # bytes of any body, but for the references inside of a submission
_FREE = 64 * 1024  # bytes of a body that need no room: connections bound how many such there are
_LONGEST = timedelta(seconds=120)  # for a whole body: 64 MiB at 5 Mbit/s
_OPENS, _CLOSES = b'"data:', b'"'
_NOBODY = UUID(int=0)  # all bodies that come without a key, to routes that need none


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a body must come: after a `grace`, at `rate` bytes a second on the average."""

    grace: timedelta
    rate: int


class BodyLimiter:
    """The body of one request on its way in: bounded before it is buffered, told its length or not.

    `most` bytes in all, and of JSON in memory `SMALL` beside what stands in `data:` strings. `owner` tells
    whose room it takes, once bytes come: then the request's key is known.
    """

    def __init__(
        self,
        receive: Receive,
        room: ByteBudget,
        pace: Pace,
        *,
        most: int,
        owner: Callable[[], UUID | None],
        is_json: bool = True,
    ) -> None:
        self._receive = receive
        self._room = room
        self._pace = pace
        self._most = most
        self._owner = owner
        self._scale = _Scale() if is_json else None
        self._read = 0
        self._hold: Hold | None = None
        self._began: float | None = None
        self._ended = False

    async def receive(self) -> Message:
        """Return the next message; raises `BodyTooLarge`, `TooSlow`, and `TooMany` without room."""
        if self._ended:
            return await self._receive()
        message = await self._next()
        chunk: bytes = message.get("body", b"")
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        self._read += len(chunk)
        if self._read > self._most:
            raise too_large(self._most)
        if self._scale is not None and self._scale.add(chunk) > SMALL:
            raise too_large(SMALL, " beside its references")
        await self._take_room()
        return message

    def release(self) -> None:
        """Free the room that this body took: its request is answered."""
        if self._hold is not None:
            self._room.end(self._hold)
            self._hold = None

    async def _take_room(self) -> None:
        if self._read <= _FREE:
            return
        if self._hold is None:
            self._hold = self._room.begin(self._owner() or _NOBODY)
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._room.take(self._hold, self._read - self._hold.size)
        self._hold.whole = self._ended
        self._began = (self._began or began) + clock() - began  # who waits for us is not slow

    async def _next(self) -> Message:
        clock = asyncio.get_running_loop().time
        self._began = self._began or clock()
        seconds = self._pace.grace.total_seconds() + self._read / self._pace.rate
        try:
            async with asyncio.timeout_at(self._began + min(seconds, _LONGEST.total_seconds())):
                return await self._receive()
        except TimeoutError:
            raise TooSlow(
                f"The body came too slowly: {self._read:,} bytes in {clock() - self._began:.0f} s. From "
                f"{self._pace.grace.total_seconds():g} s on, {self._pace.rate:,} bytes a second are the "
                f"least, and {_LONGEST.seconds} s the most for all of it."
            ) from None


def too_large(most: int, what: str = "") -> BodyTooLarge:
    """Return the refusal of a body that has more bytes than its bound."""
    return BodyTooLarge(
        f"The body has more than {most:,} bytes{what}, the most that this route takes."
    )


class _Scale:
    """Weighs what of a body lies outside of its `data:` strings, as it comes, without parsing it."""

    def __init__(self) -> None:
        self._outside = 0
        self._inside = False
        self._tail = b""  # the end of what came: a string may begin across two chunks

    def add(self, chunk: bytes) -> int:
        """Weigh the next bytes; returns the sum so far."""
        text, at = self._tail + chunk, 0
        self._outside -= len(self._tail)
        while at < len(text):
            found = text.find(_CLOSES if self._inside else _OPENS, at)
            end = len(text) if found < 0 else found + len(_CLOSES if self._inside else _OPENS)
            if not self._inside:
                self._outside += end - at
            self._inside ^= found >= 0
            at = end
        self._tail = b"" if self._inside else text[max(at - len(_OPENS) + 1, 0) :]
        return self._outside
