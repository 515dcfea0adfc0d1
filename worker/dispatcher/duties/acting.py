"""Does what was asked for of many jobs: some of each project's oldest action, in turn."""

import time
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from models import ids, jobs
from models.errors import Unavailable
from models.jobs import actions
from models.jobs.actions import Look
from models.platform.db import Transaction
from models.platform.db.failures import said
from models.webhooks import deliveries
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.watchdog import go_on

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SLICE = 1.0  # seconds of one project's in one turn


async def run(dispatcher: Dispatcher) -> bool | timedelta:
    """Do a slice of every project's action; returns in how long to go on, or False.

    It rests as long as it has worked: a hundred thousand jobs wait for the dispatcher's other duties.
    """
    began = time.monotonic()
    moved = False
    for action_id in await actions.running(dispatcher.database.direct):
        moved = await _slice(dispatcher, action_id) or moved
    return timedelta(seconds=time.monotonic() - began) if moved else False


async def _slice(dispatcher: Dispatcher, action_id: UUID) -> bool:
    """Do some jobs of an action; True when it has come further."""
    async with dispatcher.database.transaction() as tx:
        found = await actions.look(tx, action_id)
        if found is None or (found.action.kind == "retry" and await _full(dispatcher, tx, found)):
            return False
    until = time.monotonic() + _SLICE
    for done, job_id in enumerate(found.jobs):
        if time.monotonic() > until:
            return done > 0
        if not await _one(dispatcher, action_id, job_id):
            return done > 0
    async with dispatcher.database.transaction() as tx:
        ended = await actions.pass_on(tx, found)
    if ended:
        log.info("action.completed", action=ids.text(ids.ACTION, action_id))
    return True


async def _one(dispatcher: Dispatcher, action_id: UUID, job_id: UUID) -> bool:
    """Do one job; False when the action goes no further. One that fails twice is noted, and passed by.

    Raises `Unavailable` when it was Postgres that was away: then it comes again.
    """
    for again in (True, False):
        go_on()
        try:
            async with dispatcher.database.transaction() as tx:
                return await actions.act(tx, dispatcher.presenter, action_id, job_id)
        except Exception as failed:  # whatever it is, it is this job's
            if again and isinstance(failed, DBAPIError | Unavailable):
                continue  # a deadlock, or a lock that somebody held for long
            reason = said(failed)
            unexpected = None if isinstance(failed, DBAPIError) else failed
            log.error(  # noqa: TRY400 - what Postgres said is enough
                "action.failed",
                job_id=ids.text(ids.JOB, job_id),
                reason=reason,
                exc_info=unexpected,
            )
            async with dispatcher.database.transaction() as tx:
                return await actions.fail(tx, action_id, job_id, reason)
    return False


async def _full(dispatcher: Dispatcher, tx: Transaction, found: Look) -> bool:
    """Return whether the project's queue has no room for a slice of retries: it waits until it has."""
    settings, project_id = dispatcher.settings, found.action.project_id
    if await deliveries.crowded(tx, project_id, settings.deliveries_max):
        return True
    most = settings.queued_max
    return await jobs.queued(tx, project_id, most) + len(found.jobs) > most
