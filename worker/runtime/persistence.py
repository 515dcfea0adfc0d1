"""Writing down what must not be dropped because the database blinked, nor be tried for ever.

Between a paid answer and its booking nothing may escape: the lease would run out, the answer would count
as lost, and the call would be paid again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from models import jobs
from models.errors import Unavailable
from models.jobs.attempts import Answer, Ref
from models.platform import tracing
from models.platform.db import Transaction
from models.platform.db.absences import Busy
from models.platform.db.failures import said
from worker.backoff import delay
from worker.runtime import metrics
from worker.runtime.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Result = TypeVar("Result")
_BASE, _CAP = timedelta(milliseconds=200), timedelta(seconds=5)
# Others that are in the way go away; what a statement itself is at fault for may have been a race, once.
_BUSY, _FAULTS = 10, 3


async def persist(
    context: Context,
    write: Callable[[Transaction], Awaitable[Result]],
    *,
    busy: int = _BUSY,
    faults: int = _FAULTS,
) -> Result:
    """Run a transaction again and again while Postgres is away.

    `write` must be safe to repeat: the answer to COMMIT may be what was lost. What Postgres does not finish
    in time so many times, or refuses so many times, is given up: logged, counted and raised. The worker
    loses its lease then, and the reaper, which sets aside what it cannot move either, takes the row back.
    """
    n = 0
    left = {Busy: busy, DBAPIError: faults}
    while True:
        try:
            async with context.turn(), context.database.transaction() as tx:
                return await write(tx)
        except (Unavailable, DBAPIError) as failed:
            n += 1
            reason = said(failed)
            for kind in left:
                left[kind] -= isinstance(failed, kind)
            if min(left.values()) <= 0:
                metrics.NOT_WRITTEN.inc()
                log.error("write.given_up", reason=reason, tries=n)  # noqa: TRY400 - the reason says it
                raise
            wait = delay(n, base=_BASE, cap=_CAP, retry_after=None, random=random.random)
            log.warning("write.again", reason=reason, retry_in=wait.total_seconds())
            await asyncio.sleep(wait.total_seconds())


@tracing.traced("settle")
async def book(
    context: Context,
    ref: Ref,
    answer: Answer,
    write: Callable[[Transaction], Awaitable[Result]],
) -> Result | None:
    """Write down what came of a paid call; None when that cannot be done, whatever the reason.

    Then the evidence is logged, and the job waits until the provider's books tell what the call cost:
    nobody pays for another meanwhile, whatever it asked for.
    """
    try:
        return await persist(context, write)
    except Exception as failed:  # noqa: BLE001 - nothing may escape here
        metrics.NOT_BOOKED.inc()
        log.error(  # noqa: TRY400 - a traceback would show the statement's parameters
            "answer.not_booked",
            reason=said(failed),
            outcome=answer.outcome,
            http_status=answer.http_status,
            inference_id=answer.inference_id,
            charge=answer.charge,
            credits=answer.credits,
            has_url=answer.provider_url is not None,
        )
    await persist(context, lambda tx: jobs.set_aside(tx, context.presenter, ref, answer))
    return None
