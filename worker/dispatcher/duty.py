"""How a duty is run: what it stands on, and its turns, one after the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from celery import Celery
from prometheus_client import Counter

from models.errors import Unavailable
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.settings import Settings
from worker.dispatcher.publishing import Patience
from worker.dispatcher.watchdog import Watchdog, go_on

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# The longest that anything in a turn waits is a statement of Postgres, or an answer of the provider, 35 s.
_STUCK = timedelta(minutes=3)

# From one turn of a duty to the next that is only rung for: under load a turn does what many rings ask. So
# many turns after a quiet time come at once all the same: nobody who comes with few others waits.
REST = timedelta(milliseconds=50)
_AHEAD = 2
# Seconds that a turn waits for those that come with the same tick: far more than they take, as a rule.
# The first of all make connections and plans.
_PATIENCE, _PATIENCE_AT_FIRST = 0.05, 1.0
_SOON = 10  # a tick that is nearer than this part of one has just been taken

Turn = Callable[[], Awaitable[bool | timedelta]]

FAILURES = Counter(
    "darkroom_duty_failures_total",
    "Turns of duties that failed: at a Postgres that is away, or at a bug",
    ["duty", "cause"],
)


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
    in_line: asyncio.Lock = field(default_factory=asyncio.Lock)  # of turns that nobody rang for


def own_topic(duty: str) -> str:
    """Return the topic of a duty that nothing outside of this process rings for."""
    return f"only-{duty}"


async def repeat(
    dispatcher: Dispatcher,
    name: str,
    turn: Turn,
    *,
    every: timedelta,
    topic: str | None = None,
    rest: timedelta = REST,
    stuck: timedelta = _STUCK,
) -> None:
    """Do a duty when its doorbell rings, and every so often anyway; at once again while it returns True.

    A turn that returns a time is repeated by then.
    """
    _watch(dispatcher, name, stuck)
    ready, pace = (
        float("-inf"),
        rest.total_seconds(),
    )  # when the next turn may begin that is rung for
    patience = _PATIENCE_AT_FIRST
    with dispatcher.doorbell.waiter(topic or own_topic(name)) as bell:
        while True:
            ready = _next(ready, pace)
            go_on()
            async with _in_line(dispatcher.in_line, patience):
                more = await _tried(name, turn)
            if more is True:
                patience = 0
                await asyncio.sleep(0)
            else:
                wait = min(more, every) if more else _to_a_tick(every, dispatcher.settings.tick)
                dispatcher.watchdog.expect(name, wait + stuck)
                patience = 0 if await bell.wait(wait) else _PATIENCE
                await asyncio.sleep(max(ready - time.monotonic(), 0))


async def _tried(name: str, turn: Turn) -> bool | timedelta:
    """Take a turn; one that fails is logged, and the duty goes on.

    Postgres is waited for, and one poisoned row must not stop what keeps all others moving.
    """
    try:
        return await turn()
    except Unavailable as away:
        FAILURES.labels(name, "postgres").inc()
        log.warning("duty.postponed", duty=name, reason=away.detail)
    except Exception:
        FAILURES.labels(name, "bug").inc()
        log.exception("duty.failed", duty=name)
    return False


def _watch(dispatcher: Dispatcher, name: str, stuck: timedelta) -> None:
    """Make it unhealthy when nothing is seen of a turn for so long; and show its failures from 0 on."""
    dispatcher.watchdog.watch(name, stuck)
    for cause in ("postgres", "bug"):
        FAILURES.labels(name, cause)


def _to_a_tick(wait: timedelta, tick: timedelta) -> timedelta:
    """Return a wait that ends with the last tick within it, or just after it, by one clock for all duties.

    A process that sleeps is forgotten by the processor: the first turn after a second of silence takes ten
    times what it takes after another. So turns that nobody rings for are taken together.
    """
    if wait < tick:
        return wait
    now = timedelta(seconds=time.monotonic())
    left = (now + wait) // tick * tick - now
    return left if left > tick / _SOON else left + tick


@asynccontextmanager
async def _in_line(line: asyncio.Lock, patience: float) -> AsyncIterator[None]:
    """Let others be first that came before, for so many seconds: side by side, each needs a connection."""
    first = False
    if patience:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                first = await line.acquire()
    try:
        yield
    finally:
        if first:
            line.release()


def _next(ready: float, pace: float) -> float:
    """Return when a turn may follow one that begins now, and might have begun since `ready`."""
    now = time.monotonic()
    return min(max(ready, now - (_AHEAD + 1) * pace), now) + pace
