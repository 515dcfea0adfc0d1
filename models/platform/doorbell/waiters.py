"""Waiters of this process, to be woken by a ring: long polls, streams, the loops of the dispatcher."""

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self


class Waiters:
    """Who waits, by topic and key. Thousands are held at once, so each costs about 1 KB."""

    def __init__(self) -> None:
        self._waiters: dict[str, dict[str, set[Waiter]]] = {}

    def wake(self, topic: str, key: str) -> None:
        """Wake those who wait for exactly this topic and key."""
        for waiter in self._waiters.get(topic, {}).get(key, ()):
            waiter.wake()

    def wake_all(self) -> None:
        """Wake everybody: something may have gone unheard."""
        for keys in self._waiters.values():
            for waiters in keys.values():
                for waiter in waiters:
                    waiter.wake()

    def keys(self, topic: str) -> list[str]:
        """Return the keys of the topic that somebody waits for."""
        return list(self._waiters.get(topic, ()))

    def add(self, waiter: "Waiter") -> None:
        """Register a waiter."""
        self._waiters.setdefault(waiter.topic, {}).setdefault(waiter.key, set()).add(waiter)

    def remove(self, waiter: "Waiter") -> None:
        """Forget the waiter, and leave nothing of its key behind."""
        keys = self._waiters[waiter.topic]
        keys[waiter.key].remove(waiter)
        if not keys[waiter.key]:
            del keys[waiter.key]
        if not keys:
            del self._waiters[waiter.topic]


class Waiter:
    """One who waits; several may wait for the same key. Use it in a `with`, one `wait` at a time."""

    __slots__ = ("_rung", "_sleeper", "_waiters", "key", "topic")

    def __init__(self, waiters: Waiters, topic: str, key: str) -> None:
        self.topic = topic
        self.key = key
        self._waiters = waiters
        self._rung = False
        self._sleeper: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._waiters.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiters.remove(self)

    async def wait(self, timeout: timedelta) -> bool:  # noqa: ASYNC109  # a timeout is an answer
        """Wait for a ring since `with` or since the last `wait`: True when there was one."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._sleeper = loop.create_future()
            timer = loop.call_later(timeout.total_seconds(), _rouse, self._sleeper)
            try:
                await self._sleeper
            finally:
                timer.cancel()
                self._sleeper = None
        rung, self._rung = self._rung, False
        return rung

    def wake(self) -> None:
        """End the `wait` under way, or the next one at once."""
        self._rung = True
        if self._sleeper is not None:
            _rouse(self._sleeper)


def _rouse(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
