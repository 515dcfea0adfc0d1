"""What the duties of a dispatcher stand on, and how a duty is repeated."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from celery import Celery

from models.db import Database, Transaction
from models.doorbell import Doorbell
from models.errors import Unavailable
from models.ids import JOB, text
from models.settings import Settings
from models.views import Lens

Moved = TypeVar("Moved")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """The resources of one dispatcher."""

    settings: Settings
    name: str
    database: Database
    doorbell: Doorbell
    celery: Celery
    lens: Lens


async def one_by_one(
    desk: Desk, found: Sequence[UUID], arrow: Callable[[Transaction, UUID], Awaitable[Moved | None]]
) -> list[Moved]:
    """Move jobs one after the other, each in a transaction of its own; gives what was moved.

    A job that cannot be moved is logged and left: it must not hold up the others.
    """
    moved: list[Moved] = []
    for job_id in found:
        try:
            async with desk.database.transaction() as tx:
                outcome = await arrow(tx, job_id)
        except Unavailable:
            raise
        except Exception:
            log.exception("job.not_moved", job_id=text(JOB, job_id))
            continue
        if outcome is not None:
            moved.append(outcome)
    return moved


async def repeat(
    desk: Desk,
    name: str,
    turn: Callable[[], Awaitable[bool]],
    *,
    every: timedelta,
    topic: str | None = None,
) -> None:
    """Do a duty when its doorbell rings, and every so often anyway; at once again while it gives True.

    A Postgres that is away is waited for; anything else that goes wrong is logged, and the duty goes on
    with its next turn: one poisoned row must not stop what keeps all others moving.
    """
    with desk.doorbell.waiter(topic or f"only-{name}") as bell:
        while True:
            more = False
            try:
                more = await turn()
            except Unavailable as away:
                log.warning("duty.waits", duty=name, detail=away.detail)
            except Exception:
                log.exception("duty.failed", duty=name)
            if not more:
                await bell.wait(every)
            else:
                await asyncio.sleep(0)
