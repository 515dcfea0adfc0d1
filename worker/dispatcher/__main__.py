"""`python -m worker.dispatcher`: every duty, repeated until SIGTERM."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import gc

from models.platform.arguments import take_none
from models.platform.lean import load_redis

if __name__ == "__main__":
    take_none("worker.dispatcher", "Hand out jobs, and do all other duties.")
    gc.disable()  # what is loaded stays: `collect_less` puts it aside, and turns this on again
    load_redis()

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta

import structlog
import uvloop

from models import settings
from models.coordination import processes
from models.errors import DarkroomError, Misconfigured
from models.jobs.view import Presenter
from models.platform import descriptors, metrics, tracing
from models.platform.db import Database, premises
from models.platform.doorbell import Doorbell
from models.platform.logs import configure
from models.platform.memory import collect_less, spare_memory
from models.platform.threads import give_way
from models.platform.vault import Vault
from models.settings import Settings
from worker.dispatcher import timetable
from worker.dispatcher.account.accounting import AccountReader
from worker.dispatcher.duty import Dispatcher
from worker.provider import Provider
from worker.runtime import health
from worker.runtime.app import connect

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LAST = timedelta(seconds=10)  # for turns to be rolled back when it is told to stop


def main() -> int:
    """Run a dispatcher; 2 and one line when it cannot start."""
    try:
        loaded = settings.load()
        configure("dispatcher", loaded.log_level)
        metrics.identify("dispatcher")
        tracing.start("dispatcher", loaded)
        descriptors.raise_limit()
        uvloop.run(_run(loaded))
    except DarkroomError as refused:
        print(f"darkroom dispatcher: {refused}", file=sys.stderr)
        return 2
    tracing.stop()
    return 0


async def _run(loaded: Settings) -> None:
    key = loaded.aimlapi_key
    if key is None or not key.get_secret_value():
        raise Misconfigured("AIMLAPI_KEY is not set; charges cannot be reconciled without it.")
    vault = Vault.of(loaded)
    async with AsyncExitStack() as stack:
        doorbell = await stack.enter_async_context(Doorbell(loaded.redis_url.get_secret_value()))
        database = Database(loaded, ring=doorbell.ring, name="darkroom-dispatcher", plan_once=False)
        stack.push_async_callback(database.close)
        dispatcher = Dispatcher(
            settings=loaded,
            name=processes.name(),
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
        await doorbell.listen(
            "jobs", "deliveries", "followers", "actions", "batches", "erasures", "fetches"
        )
        collect_less()
        give_way()
        log.info("dispatcher.started", dispatcher=dispatcher.name)
        waits.clear()
        await stack.enter_async_context(processes.reported(database, dispatcher.name, "dispatcher"))
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
    told, work = asyncio.Event(), timetable.duties(dispatcher, reader)
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


if __name__ == "__main__":
    spare_memory()
    sys.exit(main())
