"""Looks after budgets: funds jobs that waited for room, and tells when a soft one fills up."""

import structlog

from models import budgets, duties, jobs, notices, views
from worker.dispatcher.desk import Desk

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 100


async def turn(desk: Desk) -> bool:
    """Do both once; True when more jobs may find room."""
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "budgets"):
            return False
        funded = await jobs.fund(tx, _BATCH)
        for standing, percent in await budgets.crossed(tx):
            log.info("budget.threshold", budget=str(standing.budget.id), percent=percent)
            await notices.tell(
                tx,
                standing.budget.project_id,
                "budget.threshold",
                {"percent": percent, "budget": views.budget(standing)},
            )
    return funded == _BATCH
