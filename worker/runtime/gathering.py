"""Writing down together what comes together: nobody waits for a group to fill."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Line = TypeVar("Line")
Result = TypeVar("Result")


class Gathering(Generic[Line, Result]):
    """Writes whatever has gathered while the statement before it ran, at most `most` lines at once.

    A line that is alone goes at once. `write` returns a result for each line, in their order; what it
    raises is raised to each of them.
    """

    def __init__(
        self, write: Callable[[Sequence[Line]], Awaitable[Sequence[Result]]], *, most: int
    ) -> None:
        self._write = write
        self._most = most
        self._waiting: list[tuple[Line, asyncio.Future[Result]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, line: Line) -> Result:
        """Write a line with those that have gathered; returns its result once it is written."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, result))
        if self._writing is None or self._writing.done():
            # In a context of its own: its statements are not the first one's alone.
            self._writing = asyncio.create_task(self._write_on(), context=Context())
        return await result

    async def _write_on(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                written = await self._write([line for line, _ in group])
            except Exception as failed:  # noqa: BLE001 - it is for those who wait
                for _, result in group:
                    if not result.done():
                        result.set_exception(failed)
                continue
            for (_, result), each in zip(group, written, strict=True):
                if not result.done():  # who asked for it was canceled
                    result.set_result(each)
