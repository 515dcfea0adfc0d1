"""What a process takes in of bodies while they come: each within its bound, and all within one."""

import asyncio
from collections import deque
from datetime import timedelta

from starlette.types import Message, Receive

from models.errors import BodyTooLarge, TooMany, TooSlow

SMALL = 1024 * 1024  # bytes of any body, but for the references inside of a submission
_FREE = 64 * 1024  # bytes of a body that need no room: connections bound how many such there are
_PATIENCE = timedelta(seconds=10)  # with others' bodies, before this one is put off
_DEADLINE = timedelta(seconds=120)  # for a whole body: 64 MiB at 5 Mbit/s
_OPENS, _CLOSES = b'"data:', b'"'


class Room:
    """The bytes of bodies that may be in hand at once, given to whoever came first.

    A body asks once, for all that it may become, and holds nothing while it waits: two can never wait for
    each other.
    """

    def __init__(self, most: int, patience: timedelta = _PATIENCE) -> None:
        self._most = most
        self._left = most
        self._patience = patience.total_seconds()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> int:
        """Wait for so many bytes of room, and give how many were taken; raises `TooMany`."""
        size = min(
            size, self._most
        )  # the largest body of all must wait for the whole room, not for ever
        if not self._waiting and size <= self._left:
            self._left -= size
            return size
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as ended:
            self._withdraw(size, turn)
            if isinstance(ended, TimeoutError):
                raise TooMany(
                    "Too many large bodies are being read; try again in a moment."
                ) from None
            raise
        return size

    def give_back(self, size: int) -> None:
        """Free what was taken, and let in whoever fits now."""
        self._left += size
        while self._waiting and self._waiting[0][0] <= self._left:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._left -= wanted
                turn.set_result(None)

    def _withdraw(self, size: int, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.give_back(size)  # its turn came in the very moment in which it gave up
            return
        turn.cancel()
        self._waiting = deque(each for each in self._waiting if each[1] is not turn)
        self.give_back(0)


class Intake:
    """The body of one request on its way in: bounded before it is buffered, told its length or not.

    `most` bytes in all, and `SMALL` beside what stands in `data:` strings.
    """

    def __init__(
        self,
        receive: Receive,
        room: Room,
        *,
        most: int,
        told: int | None,
        deadline: timedelta = _DEADLINE,
    ) -> None:
        self._receive = receive
        self._room = room
        self._most = most
        self._told = told
        self._deadline = deadline
        self._scale = _Scale()
        self._read = 0
        self._taken: int | None = None
        self._until: float | None = None
        self._ended = False

    async def receive(self) -> Message:
        """Give the next message. Raises `BodyTooLarge`, `TooSlow`, and `TooMany` where there is no room."""
        if self._ended:
            return await self._receive()
        if self._taken is None and (self._told or 0) > _FREE:
            self._taken = await self._room.take(self._told or 0)
        message = await self._next()
        chunk: bytes = message.get("body", b"")
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        self._read += len(chunk)
        if self._read > self._most:
            raise too_large(self._most)
        if self._scale.add(chunk) > SMALL:
            raise too_large(SMALL, " beside its references")
        if self._taken is None and self._read > _FREE:
            self._taken = await self._room.take(self._most)
        return message

    def release(self) -> None:
        """Free the room that this body took: its request is answered."""
        if self._taken is not None:
            self._room.give_back(self._taken)

    async def _next(self) -> Message:
        clock = asyncio.get_running_loop().time
        self._until = self._until or clock() + self._deadline.total_seconds()
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError:
            seconds = round(self._deadline.total_seconds())
            raise TooSlow(f"The body had not come within {seconds} s.") from None


def too_large(most: int, what: str = "") -> BodyTooLarge:
    """Say that a body has more bytes than its bound."""
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
        """Weigh the next bytes; gives the sum so far."""
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
