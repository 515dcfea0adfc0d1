"""Whether an answer that was sent whole has arrived, as far as its connection tells.

Sent means: given to the kernel. Who closes a connection before everything was read from it resets it
(RFC 1122, 4.2.2.13), and so does whatever in between has lost its client; who has read all closes it in
good order, or sends another request.
"""

from collections.abc import Callable

LATE_SECONDS = 15.0  # after which a reset is an idle connection's end: what was sent has been read


class Receipts:
    """The answers of one connection whose end is not known yet.

    `clock` returns seconds. `stay` keeps the connection from being closed behind the answer under way
    before its client has closed it: who closes first is told of no reset.
    """

    __slots__ = ("_clock", "_reset", "_sent", "expect")

    def __init__(self, clock: Callable[[], float], stay: Callable[[], None]) -> None:
        self._clock = clock
        self.expect = stay
        self._sent: list[tuple[float, Callable[[], None]]] = []
        self._reset = False

    def sent(self, lost: Callable[[], None]) -> None:
        """Note that an answer was sent whole; `lost` is called if it turns out that it was not read."""
        if self._reset:
            lost()
        else:
            self._sent.append((self._clock(), lost))

    def read(self) -> None:
        """Another request came: its client has read what was sent before."""
        self._sent.clear()

    def closed(self, *, reset: bool) -> None:
        """The connection has ended."""
        self._reset, oldest = reset, self._clock() - LATE_SECONDS
        if reset:
            for at, lost in self._sent:
                if at >= oldest:
                    lost()
        self._sent.clear()
