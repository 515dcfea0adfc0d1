"""An answer in one piece: uvloop hands each write to the kernel at once, and uvicorn writes twice.

The head of an answer and its body would be two packets, for which the reader is woken twice. Written
together they cost the server a third less (14 instead of 21 µs of CPU, two cores that were shared).
"""

import asyncio


class Joining:
    """A connection's transport towards one answer: its head waits for the first piece of its body.

    For that piece alone, and no longer than this turn of the loop: a stream's head goes out by itself.
    """

    __slots__ = ("_begun", "_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._begun = False

    def write(self, data: bytes) -> None:
        """Write, with what waits."""
        if not self._begun:
            self._begun, self._head = True, data
            self._loop.call_soon(self.flush)
        elif self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close, behind what waits."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def flush(self) -> None:
        """Write what waits."""
        head, self._head = self._head, None
        if head is not None and not self._transport.is_closing():
            self._transport.write(head)
