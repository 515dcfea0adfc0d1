"""Forgets customers and jobs: a step of each project's erasure that has waited longest, in turn."""

import time
from datetime import timedelta
from uuid import UUID

from models.jobs import erasures
from models.platform.db import Transaction
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one


async def run(dispatcher: Dispatcher) -> bool | timedelta:
    """Take a step of one erasure of every project; then in how long to go on, or False.

    It rests as long as it has worked, as everything does that goes through many jobs.
    """
    began = time.monotonic()
    due = await erasures.due(dispatcher.database.direct)
    for erasure_id in due:
        for found in await one_by_one(dispatcher, "erase", [erasure_id], erasures.advance):
            await _forget(dispatcher, erasure_id, list(found))
    return timedelta(seconds=time.monotonic() - began) if due else False


async def _forget(dispatcher: Dispatcher, erasure_id: UUID, found: list[UUID]) -> None:
    async def forget(tx: Transaction, job_id: UUID) -> UUID | None:
        return await erasures.forget_job(tx, dispatcher.presenter, erasure_id, job_id)

    await one_by_one(dispatcher, "erase", found, forget)
