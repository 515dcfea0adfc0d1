"""How much memory an api has at most, and the child that judges rows, looked at again and again (Linux)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.02  # seconds between two looks
_MIB = 1024  # KiB
_JUDGE = b"api.batching.child"


@dataclass
class Most:
    """The MiB that an api had before, that it had at most, and that the child which judges had at most."""

    before: int
    own: int = 0
    child: int = 0

    @property
    def more(self) -> int:
        """What batches added: a process that has served for long uses much without them."""
        return self.own - self.before + self.child


@contextmanager
def watched(pid: int) -> Iterator[Most]:
    """Return what the api with this process id has until the block ends."""
    most, over = Most(_resident(pid)), threading.Event()

    def look() -> None:
        while not over.wait(_EVERY):
            most.own = max(most.own, _resident(pid))
            most.child = max(most.child, sum(_resident(each) for each in _judging(pid)))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        over.set()
        looking.join()


def _resident(pid: int) -> int:
    """Return the MiB of a process that are in memory; of one that has ended, none."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // _MIB
    return 0


def _judging(pid: int) -> list[int]:
    """Return the children of an api that judge rows; others decode images."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [
                int(child)
                for child in (task / "children").read_text().split()
                if _JUDGE in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
    return found
