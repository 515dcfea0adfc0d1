"""The decoding children of all tests of a process: two take a quarter of a second to start."""

import asyncio
from threading import Thread

from models.images.pictures import Broken, Pictures


class Decoders(Pictures):
    """Children that outlive the event loop of a test: they have one of their own, in a thread.

    They are started when they are needed; `close` ends them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._thread: Thread | None = None

    async def _ask(self, what: bytes, number: int, data: bytes) -> bytes | Broken:
        if self._thread is None:
            self._thread = Thread(target=self._loop.run_forever, name="decoders", daemon=True)
            self._thread.start()
        asked = asyncio.run_coroutine_threadsafe(super()._ask(what, number, data), self._loop)
        return await asyncio.to_thread(asked.result)  # canceled or not, the child is left in peace

    @property
    def pids(self) -> set[int]:
        """The processes of its children."""
        return {child._process.pid for child in (*self._idle, *self._busy)}  # noqa: SLF001 - our own

    def close(self) -> None:
        """End the children, and their loop."""
        if self._thread is not None:
            asyncio.run_coroutine_threadsafe(self.__aexit__(None, None, None), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


DECODERS = Decoders()
