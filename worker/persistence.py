"""Writing down what must not be dropped because the database blinked, nor be tried for ever."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from models.absences import Busy
from models.db import Transaction
from models.errors import Unavailable
from worker import metrics
from worker.backoff import delay
from worker.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Result = TypeVar("Result")
_BASE, _CAP = timedelta(milliseconds=200), timedelta(seconds=5)
# Others that are in the way go away; what a statement itself is at fault for may have been a race, once.
_BUSY, _FAULTS = 10, 3


async def insist(
    context: Context,
    write: Callable[[Transaction], Awaitable[Result]],
    *,
    busy: int = _BUSY,
    faults: int = _FAULTS,
) -> Result:
    """Run a transaction again and again while Postgres is away.

    `write` must be safe to repeat: the answer to COMMIT may be what was lost. What Postgres does not finish
    in time so many times, or refuses so many times, is given up: told, counted and raised. Whoever wrote
    loses its lease then, and the reaper, which sets aside what it cannot move either, takes the row back.
    """
    n = 0
    left = {Busy: busy, DBAPIError: faults}
    while True:
        try:
            async with context.database.transaction() as tx:
                return await write(tx)
        except (Unavailable, DBAPIError) as failed:
            n += 1
            reason = _said(failed)
            for kind in left:
                left[kind] -= isinstance(failed, kind)
            if min(left.values()) <= 0:
                metrics.NOT_WRITTEN.inc()
                log.error("write.given_up", reason=reason, tries=n)  # noqa: TRY400 - the reason says it
                raise
            wait = delay(n, base=_BASE, cap=_CAP, retry_after=None, random=random.random)
            log.warning("write.again", reason=reason, retry_in=wait.total_seconds())
            await asyncio.sleep(wait.total_seconds())


def _said(failed: Unavailable | DBAPIError) -> str:
    """Say what went wrong, without the statement's parameters, which are people's."""
    return failed.detail if isinstance(failed, Unavailable) else str(failed.orig).partition("\n")[0]
