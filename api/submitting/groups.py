"""A submission of several images: judged once, and taken as a group of jobs, each with its own seed."""

from dataclasses import replace

from api.contract.requests.jobs import SubmitBody
from api.dependencies.state import State
from api.submitting import submission
from api.submitting.submission import Ready
from models.accounts.callers import Caller
from models.jobs import batches
from models.jobs.batches import Standing
from models.platform import tracing
from models.platform.db import Transaction
from models.schema import Job


@tracing.traced("accept")
async def take(
    here: State, caller: Caller, body: SubmitBody, count: int, key: str | None
) -> tuple[Standing, bool]:
    """Judge a body and make its group; returns it, and whether an earlier request had made it.

    Raises what `submission.take` does.
    """
    ready = await submission.prepare(here, caller, body, key)
    async with here.turns.open(caller.project_id) as tx:
        made, replayed = await _make(tx, here, caller, body, count, ready)
        found = await batches.of_job(tx, made[0])
    for _ in () if replayed else made:
        here.queues.accepted(caller.project_id)
    here.log_batch(found.batch, replayed=replayed)
    return found, replayed


async def _make(
    tx: Transaction, here: State, caller: Caller, body: SubmitBody, count: int, ready: Ready
) -> tuple[list[Job], bool]:
    if ready.before is not None:
        return [ready.before.job], True
    asked, told = ready.asked, body.webhook
    if told is not None and told.events is None:  # who lists none wants to hear of the group alone
        asked = replace(asked, webhook_url=None)
    return await batches.group(
        tx,
        here.presenter,
        caller,
        batches.spread(asked, count),
        idempotency=ready.name,
        full=ready.full,
        webhook_url=None if told is None else told.url,
    )
