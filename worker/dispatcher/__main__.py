"""`python -m worker.dispatcher`: every duty, repeated until SIGTERM."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import gc

if __name__ == "__main__":
    gc.disable()  # what is loaded stays: `collect_less` puts it aside, and turns this on again

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
from models.platform import descriptors, metrics, premises
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.garbage import collect_less
from models.platform.logs import configure
from models.platform.vault import Vault
from models.settings import Settings
from worker.dispatcher import (
    auditing,
    budgeting,
    dispatching,
    folding,
    following,
    matching,
    measuring,
    parking,
    pricing,
    reaping,
    reconciling,
    retaining,
    tidying,
    waking,
    wallet,
)
from worker.dispatcher.accounting import AccountReader
from worker.dispatcher.duty import Dispatcher, repeat
from worker.dispatcher.matching import Reported
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
        metrics.identify("dispatcher")
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
        dispatcher = Dispatcher(
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
        await stack.enter_async_context(_health(dispatcher, waits))
        await premises.wait(database, vault, waits.append)
        await doorbell.listen("jobs", "deliveries", "followers")
        collect_less()
        log.info("dispatcher.started", dispatcher=dispatcher.name)
        waits.clear()
        await _until_told(dispatcher, AccountReader(dispatcher, provider))
    log.info("dispatcher.stopped", dispatcher=dispatcher.name)


def _health(dispatcher: Dispatcher, waits: deque[str]) -> AbstractAsyncContextManager[None]:
    async def healthy() -> str | None:
        return dispatcher.watchdog.stuck()

    async def ready() -> str | None:
        return waits[-1] if waits else dispatcher.doorbell.refusal

    return health.serve(dispatcher.settings, healthy=healthy, ready=ready)


async def _until_told(dispatcher: Dispatcher, reader: AccountReader) -> None:
    """Repeat every duty until SIGTERM or SIGINT; a turn that is under way is finished or rolled back.

    Where Postgres does not answer, it is left to Postgres to roll back.
    """
    told, work = asyncio.Event(), _duties(dispatcher, reader)
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


def _duties(dispatcher: Dispatcher, reader: AccountReader) -> list[Coroutine[object, object, None]]:
    """List every duty, each with how often it is done at least; raises `Misconfigured` for a bad store."""
    settings_, store = dispatcher.settings, Store(dispatcher.settings.storage_url)
    reconcile = min(max(settings_.log_lag / 4, _RECONCILE_FASTEST), _RECONCILE_SLOWEST)
    recheck = min(max(4 * settings_.log_lag, _RECONCILE_FASTEST), _RECHECK_SLOWEST)
    statement = min(max(settings_.log_lag, _RECONCILE_FASTEST), _STATEMENT_SLOWEST)
    tick = settings_.tick
    return [
        repeat(
            dispatcher, "release", partial(dispatching.run, dispatcher), every=tick, topic="jobs"
        ),
        repeat(
            dispatcher,
            "wake",
            partial(waking.run, dispatcher, waking.Cursor()),
            every=tick,
            topic="deliveries",
        ),
        repeat(dispatcher, "reap", partial(reaping.run, dispatcher), every=tick),
        repeat(dispatcher, "expire", partial(reaping.expire, dispatcher), every=tick),
        repeat(
            dispatcher, "follow", partial(following.run, dispatcher), every=tick, topic="followers"
        ),
        repeat(dispatcher, "readmit", partial(budgeting.readmit, dispatcher), every=_BUDGETS),
        repeat(
            dispatcher,
            "budgets",
            partial(budgeting.tell, dispatcher, budgeting.Round()),
            every=_BUDGETS,
        ),
        repeat(dispatcher, "audit", partial(auditing.run, dispatcher), every=_AUDIT),
        repeat(dispatcher, "fold", partial(folding.run, dispatcher), every=_MINUTE),
        repeat(dispatcher, "measure", partial(measuring.run, dispatcher), every=_LOOK),
        repeat(dispatcher, "lanes", partial(waking.forget, dispatcher), every=_AUDIT),
        repeat(dispatcher, "tidy", partial(tidying.run, dispatcher), every=_MINUTE),
        repeat(dispatcher, "retain", partial(retaining.run, dispatcher, store), every=_MINUTE),
        repeat(dispatcher, "reconcile", partial(reconciling.run, reader), every=reconcile),
        repeat(dispatcher, "recheck", partial(reconciling.recheck, reader), every=recheck),
        repeat(dispatcher, "match", partial(matching.run, reader, Reported()), every=statement),
        repeat(dispatcher, "prices", partial(pricing.run, reader), every=_PRICES),
        repeat(dispatcher, "wallet", partial(wallet.run, reader), every=_MINUTE),
        repeat(dispatcher, "park", partial(parking.run, reader), every=settings_.gate_probe),
    ]


if __name__ == "__main__":
    sys.exit(main())
