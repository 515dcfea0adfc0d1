"""The room for bodies: bytes that a process has in hand at once, shared by the projects that send them."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from models.errors import TooMany

_PATIENCE = timedelta(seconds=15)  # with others' bodies, before this one is put off


@dataclass(eq=False, slots=True)
class Hold:
    """What one body holds of the room.

    `wants` are the bytes that it waits for, if there is a `turn` to wait for. It is `whole` when all of
    it has come: then it goes as soon as its request is answered.
    """

    project_id: UUID
    size: int = 0
    wants: int = 0
    turn: asyncio.Future[None] | None = None
    whole: bool = False


class ByteBudget:
    """So many bytes for the bodies of all projects, taken as they come.

    A project may hold as much as it leaves free: half of the room when it is alone, a third each when there
    are two, and whoever comes finds some (the dynamic thresholds of Choudhury and Hahne, 1998). Beyond that
    its bodies wait, and what becomes free goes to its oldest. When all of them wait for each other, the
    youngest is refused.
    """

    def __init__(self, most: int, patience: timedelta = _PATIENCE) -> None:
        self._left = most
        self._patience = patience.total_seconds()
        self._held: Counter[UUID] = Counter()
        self._waiting: Counter[UUID] = Counter()
        self._holds: list[Hold] = []  # in the order in which they began

    def begin(self, project_id: UUID) -> Hold:
        """Begin a body that holds nothing yet; `end` it when its request is answered."""
        hold = Hold(project_id)
        self._holds.append(hold)
        return hold

    async def take(self, hold: Hold, size: int) -> None:
        """Count so many bytes more, which have come already; raise `TooMany` when there is no room."""
        if not self._waiting[hold.project_id] and self._fits(hold, size):
            self._give(hold, size)
            return
        hold.wants, hold.turn = size, asyncio.get_running_loop().create_future()
        self._waiting[hold.project_id] += 1
        self._settle()
        try:
            async with asyncio.timeout(self._patience):
                await hold.turn
        except TimeoutError:
            raise _too_many() from None
        finally:
            hold.wants, hold.turn = 0, None
            self._waiting[hold.project_id] -= 1
            self._waiting += Counter()  # forgets who does not wait

    def end(self, hold: Hold) -> None:
        """Free what a body held, for the bodies that wait."""
        self._holds.remove(hold)
        self._left += hold.size
        self._held[hold.project_id] -= hold.size
        self._held += Counter()  # forgets who holds nothing
        self._settle()

    def _settle(self) -> None:
        """Hand room to the bodies that wait, each project's oldest first; then see that one can go on."""
        stuck: dict[UUID, Hold] = {}
        for hold in self._holds:
            if hold.turn is None or hold.turn.done() or hold.project_id in stuck:
                continue
            if self._fits(hold, hold.wants):
                self._give(hold, hold.wants)
                hold.turn.set_result(None)
            else:
                stuck[hold.project_id] = hold
        for project_id, oldest in stuck.items():
            self._loosen(project_id, oldest)

    def _fits(self, hold: Hold, size: int) -> bool:
        return self._held[hold.project_id] + size <= self._left - size

    def _give(self, hold: Hold, size: int) -> None:
        self._left -= size
        self._held[hold.project_id] += size
        hold.size += size

    def _loosen(self, project_id: UUID, oldest: Hold) -> None:
        """Refuse a project's youngest body when none of its bodies can go on without another's end."""
        own = [each for each in self._holds if each.project_id == project_id]
        if all(each.turn and not each.turn.done() and not each.whole for each in own):
            youngest = next((each for each in reversed(own) if each.size), oldest)
            if youngest is not oldest and youngest.turn:
                youngest.turn.set_exception(_too_many())


def _too_many() -> TooMany:
    return TooMany(
        "Too many large bodies are being read; try again in a moment, and send fewer at once."
    )
