"""The synchronous calls that wait in this process: seen every few seconds, and what became of each."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from models.errors import Unavailable
from models.jobs.submission import calls
from models.jobs.submission.calls import SEEN, Claim
from models.platform.db import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_TRIES = 3  # at saying what became of a call; after that it counts as lost by itself


class Calls:
    """Who waits for an answer here. Without a claim (a call with a key) there is nothing to note."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[Claim, None] = {}
        self._noting: dict[Claim, asyncio.Task[None]] = {}

    @contextmanager
    def held(self, claim: Claim | None) -> Iterator[None]:
        """Mark a call as waited for while the block lasts."""
        if claim is not None:
            self._waiting[claim] = None
        try:
            yield
        finally:
            if claim is not None:
                self._waiting.pop(claim, None)

    def note(self, claim: Claim | None, *, answered: bool, failed: bool = False) -> None:
        """Note what became of a call, whatever becomes of the request: its task may be cancelled.

        What is noted later of the same call is said later, and counts.
        """
        if claim is None:
            return
        before = self._noting.get(claim)
        note = self._note(claim, before, answered=answered, failed=failed)
        self._noting[claim] = asyncio.create_task(note)

    async def see_for_ever(self) -> None:
        """Write every few seconds which calls are waited for here; until cancelled."""
        while True:
            await asyncio.sleep(SEEN.total_seconds())
            if not self._waiting:
                continue
            try:
                await calls.see(self._database.direct, [each.id for each in self._waiting])
            except Unavailable as away:
                log.warning("calls.waiters_not_recorded", reason=away.detail)
            except Exception:
                log.exception("calls.waiters_not_recorded")  # they are seen the next time

    async def finish(self) -> None:
        """Wait until everything is noted."""
        await asyncio.gather(*self._noting.values(), return_exceptions=True)

    async def _note(
        self, claim: Claim, before: asyncio.Task[None] | None, *, answered: bool, failed: bool
    ) -> None:
        if before is not None:
            await before
        try:
            await self._say(claim, answered=answered, failed=failed)
        finally:
            if self._noting.get(claim) is asyncio.current_task():
                del self._noting[claim]

    async def _say(self, claim: Claim, *, answered: bool, failed: bool) -> None:
        for _ in range(_TRIES):
            try:
                if answered:
                    await calls.answered(self._database.direct, claim)
                else:
                    await calls.lost(self._database.direct, claim, failed=failed)
            except Unavailable as away:
                log.warning("calls.outcome_not_recorded", reason=away.detail)
            else:
                return
