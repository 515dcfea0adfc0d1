"""`python -m worker.dispatcher`: every duty, repeated until SIGTERM."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import asyncio
import socket
from collections import deque
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from functools import partial

import structlog
import uvloop

from models import settings
from models.errors import DarkroomError, Misconfigured
from models.ids import new
from models.images.storage import Store
from models.jobs.view import Presenter
from models.platform import descriptors, premises
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.garbage import collect_less
from models.platform.logs import configure
from models.platform.vault import Vault
from models.settings import Settings
from worker.dispatcher import (
    auditing,
    budgeting,
    folding,
    following,
    matching,
    measuring,
    parking,
    pricing,
    reaping,
    reconciling,
    releasing,
    retaining,
    tidying,
    waking,
    wallet,
)
from worker.dispatcher.accounting import Books
from worker.dispatcher.desk import Desk, repeat
from worker.dispatcher.matching import Strangers
from worker.provider import Provider
from worker.runtime import health
from worker.runtime.app import connect

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_RECONCILE_FASTEST, _RECONCILE_SLOWEST = timedelta(seconds=1), timedelta(seconds=60)
_RECHECK_SLOWEST, _STATEMENT_SLOWEST = timedelta(hours=1), timedelta(minutes=15)
_PRICES = timedelta(minutes=10)
_MINUTE, _LOOK = timedelta(seconds=60), timedelta(seconds=10)
_AUDIT = timedelta(minutes=10)
_LAST = timedelta(seconds=10)  # for turns to be rolled back when it is told to stop
_BUDGETS = timedelta(seconds=5)  # what waits for room in a budget waits for hours, as a rule


def main() -> int:
    """Run a dispatcher; 2 and one line when it cannot start."""
    try:
        loaded = settings.load()
        configure("dispatcher", loaded.log_level)
        descriptors.raise_limit()
        uvloop.run(_run(loaded))
    except DarkroomError as refused:
        print(f"darkroom dispatcher: {refused}", file=sys.stderr)
        return 2
    return 0


async def _run(loaded: Settings) -> None:
    key = loaded.aimlapi_key
    if key is None or not key.get_secret_value():
        raise Misconfigured("AIMLAPI_KEY is not set; charges cannot be reconciled without it.")
    vault = Vault.of(loaded)
    async with AsyncExitStack() as stack:
        doorbell = await stack.enter_async_context(Doorbell(loaded.redis_url.get_secret_value()))
        database = Database(loaded, ring=doorbell.ring, name="darkroom-dispatcher")
        stack.push_async_callback(database.close)
        desk = Desk(
            settings=loaded,
            name=f"{socket.gethostname()}-{os.getpid()}-{new().hex[-6:]}",
            database=database,
            doorbell=doorbell,
            celery=connect(loaded),
            presenter=Presenter.of(loaded, vault),
        )
        provider = await stack.enter_async_context(
            Provider(loaded.aimlapi_base_url, key, loaded.connect_timeout)
        )
        waits = deque(["Postgres has not been asked yet"], maxlen=1)  # empty, once it has started
        await stack.enter_async_context(_health(desk, waits))
        await premises.wait(database, vault, waits.append)
        await doorbell.listen("jobs", "deliveries", "followers")
        collect_less()
        log.info("dispatcher.started", dispatcher=desk.name)
        waits.clear()
        await _until_told(desk, Books(desk, provider))
    log.info("dispatcher.stopped", dispatcher=desk.name)


def _health(desk: Desk, waits: deque[str]) -> AbstractAsyncContextManager[None]:
    async def healthy() -> str | None:
        return desk.rounds.stuck()

    async def ready() -> str | None:
        return waits[-1] if waits else desk.doorbell.refusal

    return health.serve(desk.settings, healthy=healthy, ready=ready)


async def _until_told(desk: Desk, books: Books) -> None:
    """Repeat every duty until SIGTERM or SIGINT; a turn that is under way is finished or rolled back.

    Where Postgres does not answer, it is left to Postgres to roll back.
    """
    told, work = asyncio.Event(), _duties(desk, books)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    tasks = [asyncio.create_task(each) for each in work]
    await told.wait()
    for task in tasks:
        task.cancel()
    _, late = await asyncio.wait(tasks, timeout=_LAST.total_seconds())
    if late:
        log.warning("dispatcher.abandons", turns=len(late))
        os._exit(0)


def _duties(desk: Desk, books: Books) -> list[Coroutine[object, object, None]]:
    """List every duty, each with how often it is done at least; raises `Misconfigured` for a bad store."""
    settings_, store = desk.settings, Store(desk.settings.storage_url)
    reconcile = min(max(settings_.log_lag / 4, _RECONCILE_FASTEST), _RECONCILE_SLOWEST)
    recheck = min(max(4 * settings_.log_lag, _RECONCILE_FASTEST), _RECHECK_SLOWEST)
    statement = min(max(settings_.log_lag, _RECONCILE_FASTEST), _STATEMENT_SLOWEST)
    tick = settings_.tick
    return [
        repeat(desk, "release", partial(releasing.run, desk), every=tick, topic="jobs"),
        repeat(
            desk,
            "wake",
            partial(waking.run, desk, waking.Rounds()),
            every=tick,
            topic="deliveries",
        ),
        repeat(desk, "reap", partial(reaping.run, desk), every=tick),
        repeat(desk, "expire", partial(reaping.expire, desk), every=tick),
        repeat(desk, "follow", partial(following.run, desk), every=tick, topic="followers"),
        repeat(desk, "fund", partial(budgeting.readmit, desk), every=_BUDGETS),
        repeat(desk, "budgets", partial(budgeting.tell, desk, budgeting.Round()), every=_BUDGETS),
        repeat(desk, "audit", partial(auditing.run, desk), every=_AUDIT),
        repeat(desk, "fold", partial(folding.run, desk), every=_MINUTE),
        repeat(desk, "measure", partial(measuring.run, desk), every=_LOOK),
        repeat(desk, "lanes", partial(waking.forget, desk), every=_AUDIT),
        repeat(desk, "tidy", partial(tidying.run, desk), every=_MINUTE),
        repeat(desk, "retain", partial(retaining.run, desk, store), every=_MINUTE),
        repeat(desk, "reconcile", partial(reconciling.run, books), every=reconcile),
        repeat(desk, "recheck", partial(reconciling.recheck, books), every=recheck),
        repeat(desk, "match", partial(matching.run, books, Strangers()), every=statement),
        repeat(desk, "prices", partial(pricing.run, books), every=_PRICES),
        repeat(desk, "wallet", partial(wallet.run, books), every=_MINUTE),
        repeat(desk, "park", partial(parking.run, books), every=settings_.gate_probe),
    ]


if __name__ == "__main__":
    sys.exit(main())
