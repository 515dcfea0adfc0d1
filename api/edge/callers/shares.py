"""The requests of each project that are under way in one process: none takes all its connections.

A long poll, a stream, a synchronous call or a download that is read slowly holds its connection for
minutes, and costs nothing else. So a project has as many requests under way as there is room for others
beside them (the rule of `deliveries/waking.py`): one alone half of what the process may hold, two a third
each.
"""

from collections import Counter
from uuid import UUID

from starlette.requests import Request

from models.errors import TooMany


class Shares:
    """What is under way in a process that holds `most` connections."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: Counter[UUID] = Counter()
        self._all = 0

    def enter(self, request: Request, project_id: UUID) -> None:
        """Count a request as its project's until `leave`; raises `TooMany` where it has its share."""
        if getattr(request.state, "share_of", None) is not None:
            return
        mine = self._under_way[project_id]
        if mine > 0 and mine >= self._most - self._all:
            raise TooMany(
                f"{mine:,} requests of this project are under way here, as many as it may have while "
                "others need connections: waits, streams and downloads count. Have fewer at once."
            )
        self._under_way[project_id] += 1
        self._all += 1
        request.state.share_of = (self, project_id)

    @property
    def under_way(self) -> int:
        """How many requests are under way, of all projects."""
        return self._all

    def _leave(self, project_id: UUID) -> None:
        self._under_way[project_id] -= 1
        self._all -= 1
        if not self._under_way[project_id]:
            del self._under_way[project_id]


def leave(request: Request) -> None:
    """Stop counting a request that has been answered or given up."""
    held: tuple[Shares, UUID] | None = getattr(request.state, "share_of", None)
    if held is not None:
        request.state.share_of = None
        shares, project_id = held
        shares._leave(project_id)  # noqa: SLF001 - of this module
