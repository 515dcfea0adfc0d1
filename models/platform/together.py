"""What is asked while a question is under way is the next question: one answer of Postgres' for many.

Alone, a question goes out at once. Nobody is answered with what was read before they asked, but where what
is known may be some seconds old anyhow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from models.errors import Unavailable

Name = TypeVar("Name", bound=Hashable)
Asked = TypeVar("Asked", bound=Hashable)
Found = TypeVar("Found")

_PATIENCE = 3.0  # seconds that somebody waits for their question while others' fail
_SLOW = 1.0  # seconds after which a question is not waited for any more by those that came after it


@dataclass(slots=True)
class _Askers(Generic[Found]):
    """Who asks the same, since the first of them came."""

    since: float
    answers: list[asyncio.Future[Found | None]] = field(default_factory=list)

    def tell(self, found: Found | None) -> None:
        for answer in self.answers:
            if not answer.done():  # otherwise who asked has left
                answer.set_result(found)

    def fail(self, why: BaseException) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_exception(why)
                answer.exception()  # who asked may leave before it is told


class Together(Generic[Asked, Found]):
    """Questions of one kind in one process; `find` answers up to `most` of them at a time.

    With `joining`, whoever asks what is under way already is given that answer. So many questions that take
    long may be `overtaken` at once, for a connection may lead nowhere; of more it is Postgres that is slow.
    """

    def __init__(
        self,
        find: Callable[[Sequence[Asked]], Awaitable[Mapping[Asked, Found]]],
        *,
        most: int,
        joining: bool = False,
        overtaken: int = 2,
    ) -> None:
        self._find = find
        self._most = most
        self._joining = joining
        self._overtaken_most = overtaken
        self._under_way: dict[Asked, _Askers[Found]] = {}
        self._waiting: dict[Asked, _Askers[Found]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._overtaken: set[asyncio.Task[None]] = set()

    async def find(self, asked: Asked) -> Found | None:
        """Return what is found, which others may be given too, or None. Raises what `find` does."""
        loop = asyncio.get_running_loop()
        askers = self._waiting.get(asked)
        if askers is None and self._joining:
            askers = self._under_way.get(asked)
        if askers is None:
            askers = self._waiting[asked] = _Askers(loop.time())
        answer: asyncio.Future[Found | None] = loop.create_future()
        askers.answers.append(answer)
        if self._asking is None or self._asking.done():
            self._ask()
        return await answer

    def _ask(self) -> None:
        # In a context of its own: what it logs and traces is not the first one's alone.
        self._asking = asyncio.create_task(self._ask_for_all(), context=Context())

    async def _ask_for_all(self) -> None:
        loop, mine = asyncio.get_running_loop(), asyncio.current_task()
        while self._waiting and self._asking is mine:
            self._under_way = asked = self._take(list(self._waiting)[: self._most])
            slow = loop.call_later(_SLOW, self._overtake)
            try:
                found = await self._find(list(asked))
            except BaseException as failed:
                self._end(asked, slow)
                late = self._late() if isinstance(failed, Unavailable) else ()
                for askers in (*asked.values(), *self._take(late).values()):
                    askers.fail(failed)
                if not isinstance(failed, Exception):
                    raise
            else:
                self._end(asked, slow)
                for each, askers in asked.items():
                    askers.tell(found.get(each))

    def _overtake(self) -> None:
        """Let the next question go out beside the one that is under way."""
        slow = self._asking
        if slow is None or len(self._overtaken) >= self._overtaken_most:
            return
        self._overtaken.add(slow)
        slow.add_done_callback(self._overtaken.discard)
        self._under_way, self._asking = {}, None
        if self._waiting:
            self._ask()

    def _end(self, asked: dict[Asked, _Askers[Found]], slow: asyncio.TimerHandle) -> None:
        slow.cancel()
        if self._under_way is asked:
            self._under_way = {}

    def _late(self) -> list[Asked]:
        """List what waits since so long ago that it, too, is answered: Postgres is away."""
        latest = asyncio.get_running_loop().time() - _PATIENCE
        return [each for each, askers in self._waiting.items() if askers.since < latest]

    def _take(self, asked: Iterable[Asked]) -> dict[Asked, _Askers[Found]]:
        return {each: self._waiting.pop(each) for each in asked}


class Lines(Generic[Name, Asked, Found]):
    """Questions of one kind that are asked together where they have one name; no name waits for another.

    A name has its line as long as somebody stands in it.
    """

    def __init__(
        self,
        find: Callable[[Name, Sequence[Asked]], Awaitable[Mapping[Asked, Found]]],
        *,
        most: int,
        overtaken: int = 2,
    ) -> None:
        self._find = find
        self._most = most
        self._overtaken = overtaken
        self._lines: WeakValueDictionary[Name, Together[Asked, Found]] = WeakValueDictionary()

    async def find(self, name: Name, asked: Asked) -> Found | None:
        """Return what `Together.find` does, among those of this name."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Together(
                partial(self._find, name), most=self._most, overtaken=self._overtaken
            )
        return await line.find(asked)
