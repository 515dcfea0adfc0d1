"""The one event loop of a worker process, entered from Celery's threads.

A thread of the pool only waits: a thousand calls in flight cost a thousand idle threads and one loop.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

import uvloop

from models.settings import Settings
from worker.context import Context, open_context

Result = TypeVar("Result")


class Loop:
    """An event loop in a thread of its own, with the context that runs on it."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._stack = AsyncExitStack()
        self._spawned: set[Future[None]] = set()  # a loop holds its tasks weakly
        self._entered: set[Future[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self.context: Context | None = None

    def start(self, settings: Settings, worker: str) -> Context:
        """Start the loop and open the context on it; raises `Misconfigured`."""
        self._thread.start()
        self.context = self.run(self._stack.enter_async_context(open_context(settings, worker)))
        return self.context

    def run(self, work: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine on the loop and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def see_through(self, work: Coroutine[object, object, None]) -> None:
        """Run a task's work and wait for its end; it may be abandoned, which is no failure of Celery's."""
        entered = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._entered.add(entered)
        entered.add_done_callback(self._entered.discard)
        with suppress(CancelledError):
            entered.result()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Start a coroutine on the loop and go on; it ends with the loop."""
        spawned = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._spawned.add(spawned)
        spawned.add_done_callback(self._spawned.discard)

    def abandon(self) -> None:
        """Cancel what tasks are at: the time to see it through is over."""
        for each in list(self._entered):
            each.cancel()

    def stop(self) -> None:
        """Close the context and end the loop."""
        self.run(_cancel_others())
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


loop = Loop()


def current() -> Context:
    """Give the context of this process."""
    if loop.context is None:
        raise RuntimeError("the worker's loop was not started")
    return loop.context
