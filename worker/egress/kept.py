"""Connections that are kept: to one other side each, at addresses that were checked for this very request.

Whose they are is the caller's to say (`Owner`): an endpoint, or a project and an origin. Nobody else's
request goes over them; they are closed when their owner goes elsewhere, or the name does.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from models.platform.addresses import Address, Target
from worker.egress.connection import open_kept

Owner = Hashable

_OWNERS = 256  # whose connections are kept; the one that has not been used for longest makes room


@dataclass(slots=True)
class _Line:
    place: tuple[str, str, int, frozenset[Address]]
    session: aiohttp.ClientSession
    users: int = 0
    stale: bool = False


class Kept:
    """The sessions of all owners; `close` ends them."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Owner, _Line] = OrderedDict()

    @asynccontextmanager
    async def session(
        self, owner: Owner, target: Target, answers: Sequence[Address]
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """Lend the owner's session to this place; one that leads elsewhere is closed first."""
        place = (target.scheme, target.host, target.port, frozenset(answers))
        line = self._lines.get(owner)
        if line is not None and (line.place != place or line.stale):
            await self._drop(owner)
            line = None
        if line is None:
            line = self._lines[owner] = _Line(place, open_kept(answers))
            if len(self._lines) > _OWNERS:
                await self._drop(next(iter(self._lines)))
        self._lines.move_to_end(owner)
        line.users += 1
        try:
            yield line.session
        finally:
            line.users -= 1
            if line.stale and not line.users:
                await line.session.close()

    def doubt(self, owner: Owner) -> None:
        """Use the owner's connections no more: the other side has closed one that was kept."""
        if (line := self._lines.get(owner)) is not None:
            line.stale = True

    async def close(self) -> None:
        """Close all."""
        while self._lines:
            await self._drop(next(iter(self._lines)))

    async def _drop(self, owner: Owner) -> None:
        line = self._lines.pop(owner)
        line.stale = True
        if not line.users:
            await line.session.close()
