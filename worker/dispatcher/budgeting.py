"""Looks after budgets: funds jobs that waited for room, and tells when a soft one fills up."""

from itertools import groupby
from operator import itemgetter
from uuid import UUID

import structlog

from models import budgets, duties, jobs, notices, views
from worker.dispatcher.desk import Desk, one_by_one

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 100


async def turn(desk: Desk) -> bool:
    """Do both once; True when more jobs may find room."""
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "budgets"):
            return False
        waiting = await jobs.unfunded(tx, _BATCH)
        for standing, percent in await budgets.crossed(tx):
            log.info("budget.threshold", budget=str(standing.budget.id), percent=percent)
            await notices.tell(
                tx,
                standing.budget.project_id,
                "budget.threshold",
                {"percent": percent, "budget": views.budget(standing)},
            )
    funded = 0
    for _, of_project in groupby(sorted(waiting, key=itemgetter(0)), key=itemgetter(0)):
        funded += await _fund(desk, [job_id for _, job_id in of_project])
    return funded == _BATCH


async def _fund(desk: Desk, waiting: list[UUID]) -> int:
    """Fund a project's jobs by rank, until one finds no room: whoever came later waits behind it."""
    for funded, job_id in enumerate(waiting):
        if not await one_by_one(desk, [job_id], lambda tx, id_: jobs.fund(tx, desk.lens, id_)):
            return funded
    return len(waiting)
