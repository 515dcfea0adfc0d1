"""Writing down what must not be dropped because the database blinked."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from models.db import Transaction
from models.errors import Unavailable
from worker.backoff import delay
from worker.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Result = TypeVar("Result")
_BASE, _CAP = timedelta(milliseconds=200), timedelta(seconds=5)


async def insist(context: Context, write: Callable[[Transaction], Awaitable[Result]]) -> Result:
    """Run a transaction again and again until Postgres answers.

    `write` must be safe to repeat: the answer to COMMIT may be what was lost.
    """
    n = 0
    while True:
        try:
            async with context.database.transaction() as tx:
                return await write(tx)
        except Unavailable as away:
            n += 1
            wait = delay(n, base=_BASE, cap=_CAP, retry_after=None, random=random.random)
            log.warning("postgres.away", detail=away.detail, retry_in=wait.total_seconds())
            await asyncio.sleep(wait.total_seconds())
