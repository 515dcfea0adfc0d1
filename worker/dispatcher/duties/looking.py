"""Looks once a tick for all duties that are rung for, and wakes those that have something to do."""

from collections.abc import Mapping

import structlog

from models.errors import Unavailable
from models.jobs import agenda
from models.platform.db.failures import said
from worker.dispatcher.duty import Dispatcher

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def run(dispatcher: Dispatcher, topics: Mapping[str, str]) -> bool:
    """Wake who has something to do, each by its topic; all of them when that cannot be found out."""
    settings = dispatcher.settings
    try:
        wanted = await agenda.to_do(
            dispatcher.database.direct,
            lease=settings.lease_run,
            typical_call=settings.typical_call,
        )
    except Unavailable:
        raise  # none of them would find out either
    except Exception as failed:  # one of the looks is at fault: its duty says so by itself
        log.exception("agenda.failed", reason=said(failed))
        wanted = topics.keys()
    for duty in wanted:
        dispatcher.doorbell.wake(topics[duty])
    return False
