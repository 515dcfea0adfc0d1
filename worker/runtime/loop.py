"""The one event loop of a worker process, entered from Celery's threads.

A thread of the pool waits until what its message carries has begun, and for no call (`flight`).
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import TypeVar, TypeVarTuple, cast

import uvloop

from models.platform.threads import give_way
from models.settings import Settings
from worker.runtime.context import Context, open_context

Result = TypeVar("Result")
Given = TypeVarTuple("Given")


class Loop:
    """An event loop in a thread of its own, with the context that runs on it."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._stack = AsyncExitStack()
        self._spawned: set[Future[None]] = set()  # a loop holds its tasks weakly
        self._entered: set[Future[None]] = set()
        self._ours: set[asyncio.Task[object]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self.context: Context | None = None

    def start(self, settings: Settings, worker: str) -> Context:
        """Start the loop and open the context on it; raises `Misconfigured`."""
        give_way()  # this thread is one of several: Celery has others
        self._thread.start()
        self.context = self.open(open_context(settings, worker))
        return self.context

    def open(self, manager: AbstractAsyncContextManager[Result]) -> Result:
        """Enter a context manager on the loop, and leave it when the loop stops."""
        return self.run(self._stack.enter_async_context(manager))

    def run(self, work: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine on the loop and wait for its result."""
        return self._enter(work).result()

    def see_through(self, work: Coroutine[object, object, None]) -> None:
        """Run a task's coroutine and wait for its end; to be abandoned is no failure of Celery's."""
        entered = self._enter(work)
        self._entered.add(entered)
        entered.add_done_callback(self._entered.discard)
        with suppress(CancelledError):
            entered.result()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Start a coroutine on the loop and go on; it ends with the loop."""
        spawned = self._enter(work)
        self._spawned.add(spawned)
        spawned.add_done_callback(self._spawned.discard)

    def call(self, what: Callable[[*Given], object], *given: *Given) -> None:
        """Call something on the loop, and do not wait for it."""
        self._loop.call_soon_threadsafe(what, *given)

    def abandon(self) -> None:
        """Cancel what tasks are at, and what they have begun: the time to see it through is over."""
        for each in list(self._entered):
            each.cancel()
        if self.context is not None:
            self.context.flight.abandon()

    def _enter(self, work: Coroutine[object, object, Result]) -> Future[Result]:
        async def ours() -> Result:
            task = cast("asyncio.Task[object]", asyncio.current_task())
            self._ours.add(task)
            try:
                return await work
            finally:
                self._ours.discard(task)

        return asyncio.run_coroutine_threadsafe(ours(), self._loop)

    def stop(self) -> None:
        """Cancel what was entered, close the context, which ends what it began itself, and end the loop."""
        self.run(_cancel(self._ours))
        self.run(self._stack.aclose())
        self.run(_cancel(asyncio.all_tasks(self._loop)))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel(tasks: set[asyncio.Task[object]]) -> None:
    others = tasks - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


loop = Loop()


def current() -> Context:
    """Return the context of this process."""
    if loop.context is None:
        raise RuntimeError("the worker's loop was not started")
    return loop.context
