"""How a duty of a dispatcher is run: its resources, its repetition, and rows that it fails at."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog
from celery import Celery
from prometheus_client import Counter, Gauge
from sqlalchemy.exc import DBAPIError

from models.coordination import aside
from models.coordination.aside import Duty
from models.errors import Unavailable
from models.jobs.view import Presenter
from models.platform.db import Database, Transaction
from models.platform.db.failures import said
from models.platform.doorbell import Doorbell
from models.settings import Settings
from worker.dispatcher.publishing import Patience

Moved = TypeVar("Moved")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


# The longest that anything in a turn waits is a statement of Postgres, or an answer of the provider, 35 s.
_STUCK = timedelta(minutes=3)

# From one turn of a duty to the next that is only rung for: under load a turn does what many rings ask.
_REST = 0.05  # seconds

_SLICE = 10.0  # seconds that rows are moved one by one in one turn

_SET_ASIDE = Counter(
    "darkroom_rows_set_aside", "Times that a duty failed at a row and set it aside", ["duty"]
)

_OVERDUE = Gauge(
    "darkroom_duty_overdue_seconds",
    "How long ago a duty should have shown that it goes on; 0 while it does",
    ["duty"],
)
_FAILURES = Counter(
    "darkroom_duty_failures_total",
    "Turns of duties that failed: at a Postgres that is away, or at a bug",
    ["duty", "cause"],
)

_goes_on: ContextVar[Callable[[], None] | None] = ContextVar("goes_on", default=None)


class Watchdog:
    """Until when each duty must have shown that it goes on; who has not, is stuck."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def expect(self, duty: str, within: timedelta) -> None:
        """Expect the next sign of a duty within this time."""
        if duty not in self._due:
            _OVERDUE.labels(duty).set_function(partial(self._overdue, duty))
        self._due[duty] = time.monotonic() + within.total_seconds()

    def stuck(self) -> str | None:
        """Return None, or in words which duties are stuck."""
        late = sorted(duty for duty, due in self._due.items() if due <= time.monotonic())
        return f"stuck: {', '.join(late)}" if late else None

    def _overdue(self, duty: str) -> float:
        return max(time.monotonic() - self._due[duty], 0.0)


def go_on() -> None:
    """Show that the duty which calls this goes on: a long turn says so at each of its steps."""
    sign = _goes_on.get()
    if sign is not None:
        sign()


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """The resources of one dispatcher."""

    settings: Settings
    name: str
    database: Database
    doorbell: Doorbell
    celery: Celery
    presenter: Presenter
    watchdog: Watchdog = field(default_factory=Watchdog)
    patience: Patience = field(default_factory=Patience)


async def one_by_one(
    dispatcher: Dispatcher,
    duty: Duty,
    found: Sequence[UUID],
    arrow: Callable[[Transaction, UUID], Awaitable[Moved | None]],
) -> list[Moved]:
    """Move rows one after the other, each in a transaction of its own; returns what was moved.

    One that cannot be moved is set aside and told, and must not hold up the others. So is one at which
    Postgres gives no answer in time while it answers us otherwise; if it does not, it is away: raises
    `Unavailable`. Whoever finds the rows passes by what is set aside (`aside.passed_by`).
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
    """Do a batch in one statement; if that fails, its rows one by one. Gives how many rows were moved.

    `work` moves what `find` would find, or only the row it is given.
    """
    go_on()
    try:
        async with dispatcher.database.transaction() as tx:
            moved = await work(tx, None)
            if moved:
                await aside.forget_due(tx, duty)
    except Exception as failed:  # noqa: BLE001 - if Postgres is away, the next line says so
        log.warning("batch.failed", duty=duty, error=said(failed))
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
        log.warning("batch.failed", duty=duty, error=said(failed))
        async with dispatcher.database.transaction() as tx:
            found = await first(tx)
        if len(await one_by_one(dispatcher, duty, found, try_)) == len(found):
            raise
    return None


async def each_alone(
    dispatcher: Dispatcher, duty: str, *steps: Callable[[Transaction], Awaitable[object]]
) -> list[object]:
    """Do steps that need nothing of each other, each in a transaction of its own; returns what each gave.

    One that fails is told and counted, gives None, and stops none of the others.
    """
    given: list[object] = []
    for step in steps:
        go_on()
        try:
            async with dispatcher.database.transaction() as tx:
                given.append(await step(tx))
        except Unavailable:
            raise
        except Exception as failed:  # it is this step's alone
            _FAILURES.labels(duty, "bug").inc()
            name = getattr(getattr(step, "func", step), "__name__", "")
            log.error(  # noqa: TRY400 - `exc_info` says when there is one
                "duty.step_failed",
                duty=duty,
                step=name,
                reason=said(failed),
                exc_info=_unexpected(failed),
            )
            given.append(None)
    return given


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
    return None if isinstance(failed, DBAPIError) else failed


async def repeat(
    dispatcher: Dispatcher,
    name: str,
    turn: Callable[[], Awaitable[bool | timedelta]],
    *,
    every: timedelta,
    topic: str | None = None,
    stuck: timedelta = _STUCK,
) -> None:
    """Do a duty when its doorbell rings, and every so often anyway; at once again while it gives True.

    A turn that gives a time knows of something to do by then, and is repeated by then at the latest.
    A Postgres that is away is waited for; anything else that goes wrong is logged, and the duty goes on
    with its next turn: one poisoned row must not stop what keeps all others moving. A turn of which nothing
    is seen for `stuck` makes the process unhealthy.
    """
    _goes_on.set(partial(dispatcher.watchdog.expect, name, stuck))
    for cause in ("postgres", "bug"):
        _FAILURES.labels(name, cause)
    with dispatcher.doorbell.waiter(topic or f"only-{name}") as bell:
        while True:
            more: bool | timedelta = False
            began = time.monotonic()
            go_on()
            try:
                more = await turn()
            except Unavailable as away:
                _FAILURES.labels(name, "postgres").inc()
                log.warning("duty.waits", duty=name, detail=away.detail)
            except Exception:
                _FAILURES.labels(name, "bug").inc()
                log.exception("duty.failed", duty=name)
            if more is True:
                await asyncio.sleep(0)
            else:
                wait = min(more, every) if more else every
                dispatcher.watchdog.expect(name, wait + stuck)
                await bell.wait(wait)
                await asyncio.sleep(max(began + _REST - time.monotonic(), 0))
