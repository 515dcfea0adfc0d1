"""Whose secrets these are: one question to Postgres at a time, for all that are asked about meanwhile.

A key, or a session's token, that was never seen to be good looks like garbage, until it was looked up. So
none is refused, and none waits behind more than a few questions: garbage costs the time of one connection,
however much comes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from models.accounts.callers import Caller
from models.platform.db import Database
from models.platform.db.statements import Reader

Find = Callable[[Reader, Sequence[str]], Awaitable[dict[str, Caller]]]

_TOGETHER = 1_000  # keys of one question: some 5 ms of Postgres'


class Lookups:
    """The keys of one process that are being looked up; as many at most as requests are under way."""

    def __init__(self, database: Database, find: Find) -> None:
        self._database = database
        self._find = find
        self._asked: dict[str, asyncio.Future[Caller | None]] = {}
        self._waiting: dict[str, None] = {}
        self._asking: asyncio.Task[None] | None = None

    async def find(self, key: str) -> Caller | None:
        """Return whose key this is; None when it is nobody's. Raises `Unavailable`."""
        answer = self._asked.get(key)
        if answer is None:
            answer = self._asked[key] = asyncio.get_running_loop().create_future()
            self._waiting[key] = None
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_for_all())
        # Who goes away must not take the others' answer along.
        return await asyncio.shield(answer)

    async def _ask_for_all(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:_TOGETHER]
            for key in keys:
                del self._waiting[key]
            try:
                found = await self._find(self._database.direct, keys)
            except BaseException as failed:
                self._answer(keys, {}, failed)
                if not isinstance(failed, Exception):
                    raise
            else:
                self._answer(keys, found, None)

    def _answer(
        self, keys: list[str], found: dict[str, Caller], failed: BaseException | None
    ) -> None:
        for key in keys:
            answer = self._asked.pop(key)
            if failed is None:
                answer.set_result(found.get(key))
            else:
                answer.set_exception(failed)
                answer.exception()  # nobody may be left who asks
