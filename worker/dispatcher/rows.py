"""Rows that a duty moves, and those that it fails at: they are set aside, and hold up no others."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.exc import DBAPIError

from models.coordination import aside
from models.coordination.aside import Duty
from models.errors import Unavailable
from models.platform.db import Transaction
from models.platform.db.absences import is_refusal
from models.platform.db.direct import Direct
from models.platform.db.failures import said
from worker.dispatcher.duty import FAILURES, Dispatcher
from worker.dispatcher.watchdog import go_on

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Moved = TypeVar("Moved")

_SLICE = 10.0  # seconds that rows are moved one by one in one turn

_SET_ASIDE = Counter(
    "darkroom_rows_set_aside", "Times that a duty failed at a row and set it aside", ["duty"]
)


async def one_by_one(
    dispatcher: Dispatcher,
    duty: Duty,
    found: Sequence[UUID],
    arrow: Callable[[Transaction, UUID], Awaitable[Moved | None]],
) -> list[Moved]:
    """Move rows one after the other, each in a transaction of its own; returns what was moved.

    One that cannot be moved is set aside and told, and must not hold up the others. So is one at which
    Postgres does not answer in time while it answers us otherwise; if it does not, it is away: raises
    `Unavailable`. The statement that finds the rows passes by what is set aside (`aside.passed_by`).
    """
    moved: list[Moved] = []
    done: list[UUID] = []
    began = time.monotonic()
    for subject in found:
        if time.monotonic() - began > _SLICE:
            break  # what takes long is not looked for again before the other rows have had their turn
        go_on()
        try:
            async with dispatcher.database.transaction() as tx:
                outcome = await arrow(tx, subject)
        except Exception as failed:  # noqa: BLE001 - whatever it is, it is this row's
            await _set_aside(dispatcher, duty, subject, failed)
            continue
        done.append(subject)
        if outcome is not None:
            moved.append(outcome)
    if done:
        async with dispatcher.database.transaction() as tx:
            await aside.forget(tx, duty, done)
    return moved


async def all_at_once(
    dispatcher: Dispatcher,
    duty: Duty,
    work: Callable[[Transaction, UUID | None], Awaitable[int]],
    find: Callable[[Transaction], Awaitable[Sequence[UUID]]],
) -> int:
    """Do a batch in one statement; if that fails, its rows one by one; returns how many were moved.

    `work` moves what `find` would find, or only the row it is given.
    """
    go_on()
    try:
        async with dispatcher.database.transaction() as tx:
            moved = await work(tx, None)
            if moved:
                await aside.forget_due(tx, duty)
    except Exception as failed:  # noqa: BLE001 - if Postgres is away, the next line says so
        log.warning("batch.failed", duty=duty, reason=said(failed))
    else:
        return moved
    async with dispatcher.database.transaction() as tx:
        found = await find(tx)
    return sum(await one_by_one(dispatcher, duty, found, work))


async def sifted(
    dispatcher: Dispatcher,
    duty: Duty,
    batch: Callable[[], Awaitable[Moved]],
    first: Callable[[Transaction], Awaitable[Sequence[UUID]]],
    try_: Callable[[Transaction, UUID], Awaitable[bool | None]],
) -> Moved | None:
    """Move a batch that is chosen and moved in one statement; None if it failed, and may work now.

    Then the rows that it would have come to `first` are tried one by one, and those that cannot be moved
    are set aside: the next batch passes them by. Raises what the batch did when none of them is at fault.
    """
    try:
        return await batch()
    except Unavailable:
        raise
    except Exception as failed:
        log.warning("batch.failed", duty=duty, reason=said(failed))
        async with dispatcher.database.transaction() as tx:
            found = await first(tx)
        if len(await one_by_one(dispatcher, duty, found, try_)) == len(found):
            raise
    return None


async def each_alone(
    dispatcher: Dispatcher, duty: str, *steps: Callable[[Transaction], Awaitable[object]]
) -> list[object]:
    """Do steps that need nothing of each other, each in a transaction of its own; returns their results.

    One that fails is logged and counted, returns None, and stops none of the others.
    """

    async def begun(step: Callable[[Transaction], Awaitable[object]]) -> object:
        async with dispatcher.database.transaction() as tx:
            return await step(tx)

    return [await _alone(duty, step, begun(step)) for step in steps]


async def each_direct(
    dispatcher: Dispatcher, duty: str, *steps: Callable[[Direct], Awaitable[object]]
) -> list[object]:
    """Do the same with steps that need no transaction: each statement of theirs is one."""
    direct = dispatcher.database.direct
    return [await _alone(duty, step, step(direct)) for step in steps]


async def _alone(duty: str, step: object, work: Awaitable[object]) -> object:
    go_on()
    try:
        return await work
    except Unavailable:
        raise
    except Exception as failed:  # it is this step's alone
        FAILURES.labels(duty, "bug").inc()
        log.error(  # noqa: TRY400 - `exc_info` says when there is one
            "duty.step_failed",
            duty=duty,
            step=getattr(getattr(step, "func", step), "__name__", ""),
            reason=said(failed),
            exc_info=_unexpected(failed),
        )
        return None


async def _set_aside(dispatcher: Dispatcher, duty: Duty, subject: UUID, failed: Exception) -> None:
    """Set a row aside and say so; raises `Unavailable` when it was Postgres that was away."""
    async with dispatcher.database.transaction() as tx:
        failures = await aside.put(tx, duty, subject, said(failed))
    _SET_ASIDE.labels(duty).inc()
    log.error(
        "row.set_aside",
        duty=duty,
        row=str(subject),
        failures=failures,
        reason=said(failed),
        exc_info=_unexpected(failed),
    )


def _unexpected(failed: Exception) -> Exception | None:
    """Return what a traceback tells more of: of Postgres, its own words say enough."""
    return None if isinstance(failed, DBAPIError) or is_refusal(failed) else failed
