"""Empties projects that are being deleted: a slice of each in a turn, so that nobody else waits for it."""

from functools import partial
from uuid import UUID

import structlog

from models import ids
from models.coordination import duties
from models.operating import emptying
from models.platform.db import Transaction
from models.schema import Job
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one
from worker.dispatcher.watchdog import go_on

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_JOBS = 100  # canceled, or deleted, in one slice: some hundred milliseconds
_DELIVERIES = 500


async def run(dispatcher: Dispatcher) -> bool:
    """Take a slice of each; True while one of them was of use."""
    direct = dispatcher.database.direct
    if not await emptying.doomed(direct):
        return False
    async with duties.claimed(direct, "empty") as tx:
        if tx is None:
            return False
        doomed = await emptying.doomed(tx)
    return any([await _slice(dispatcher, each) for each in doomed])


async def _slice(dispatcher: Dispatcher, project_id: UUID) -> bool:
    go_on()
    async with dispatcher.database.transaction() as tx:
        found = await emptying.unfinished(tx, project_id, _JOBS)
    canceled = await one_by_one(dispatcher, "empty", found, partial(_cancel, dispatcher))
    async with dispatcher.database.transaction() as tx:
        aborted = await emptying.quieten(tx, project_id, _DELIVERIES)
    async with dispatcher.database.transaction() as tx:
        removed = await emptying.remove_jobs(tx, project_id, _JOBS)
    async with dispatcher.database.transaction() as tx:
        files = await emptying.remove_files(tx, project_id, _JOBS)
    if canceled or aborted or removed or files:
        log.info(
            "project.being_emptied",
            project_id=ids.text(ids.PROJECT, project_id),
            canceled=len(canceled),
            deliveries=aborted,
            jobs=removed,
            files=files,
        )
        return True
    async with dispatcher.database.transaction() as tx:
        emptied = await emptying.finish(tx, project_id)
    if emptied:
        log.info("project.emptied", project_id=ids.text(ids.PROJECT, project_id))
    return False


async def _cancel(dispatcher: Dispatcher, tx: Transaction, job_id: UUID) -> Job | None:
    return await emptying.cancel(tx, dispatcher.presenter, job_id)
