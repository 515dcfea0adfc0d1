"""What the duties of a dispatcher stand on, and how a duty is repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from celery import Celery

from models.db import Database
from models.doorbell import Doorbell
from models.errors import Unavailable
from models.settings import Settings
from models.views import Lens

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
