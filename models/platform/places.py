"""A few places, given to projects in turn: none waits behind all that another one has brought."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import UUID

from models.errors import Refusal, TooMany

_Turn = asyncio.Future[None]


class Places:
    """So many `places`: a project has at most `share` of them at once, while `line` of its own may wait.

    A caller that finds no room is refused with these words.
    """

    def __init__(
        self,
        places: int,
        *,
        share: int,
        line: int,
        crowded: str,
        refusal: type[Refusal] = TooMany,
    ) -> None:
        self._free = places
        self._share = share
        self._line = line
        self._crowded = partial(refusal, crowded)
        self._taken: Counter[UUID] = Counter()
        self._lines: dict[UUID, deque[_Turn]] = {}

    @asynccontextmanager
    async def take(self, project_id: UUID, patience: float | None) -> AsyncIterator[None]:
        """Hold a place; raises the refusal where the line is full, or was not let in within seconds.

        Without a patience it waits as long as it takes.
        """
        await self._enter(project_id, patience)
        try:
            yield
        finally:
            self._leave(project_id)

    async def _enter(self, project_id: UUID, patience: float | None) -> None:
        if self._free and not self._lines and self._taken[project_id] < self._share:
            self._hold(project_id)  # nobody waits, so it is nobody else's turn
            return
        line = self._lines.setdefault(project_id, deque())
        if len(line) >= self._line:
            raise self._crowded()
        turn: _Turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        self._let_in()
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as ended:
            if not turn.cancel() and not turn.cancelled():
                self._leave(project_id)  # its turn came in the very moment in which it gave up
            self._forget(project_id, turn)
            if isinstance(ended, TimeoutError):
                raise self._crowded() from None
            raise

    def _hold(self, project_id: UUID) -> None:
        self._free -= 1
        self._taken[project_id] += 1

    def _leave(self, project_id: UUID) -> None:
        self._free += 1
        self._taken[project_id] -= 1
        if not self._taken[project_id]:
            del self._taken[project_id]
        self._let_in()

    def _let_in(self) -> None:
        """Hand what is free to the first of each line in turn: who was served goes behind the others."""
        while self._free and (project_id := self._next()) is not None:
            turn = self._lines[project_id][0]
            self._forget(project_id, turn)
            if project_id in self._lines:
                self._lines[project_id] = self._lines.pop(project_id)
            if not turn.done():
                self._hold(project_id)
                turn.set_result(None)

    def _next(self) -> UUID | None:
        return next((each for each in self._lines if self._taken[each] < self._share), None)

    def _forget(self, project_id: UUID, turn: _Turn) -> None:
        line = self._lines.get(project_id, deque())
        with suppress(ValueError):
            line.remove(turn)
        if not line:
            self._lines.pop(project_id, None)
