"""Who takes the machine's cores, from `/proc`, and the same cores taken by what has nothing to do here."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from time import monotonic, process_time

_TICKS = os.sysconf("SC_CLK_TCK")
_LITTLE = 0.02  # cores: less is not worth a process that burns them
_PIECE = 0.001  # seconds of one go
OTHERS = "others of this machine"

Cores = Mapping[tuple[str, int], float]  # by the name of a process and its niceness


@dataclass(frozen=True)
class _Process:
    program: str
    parent: int
    nice: int
    seconds: float  # of CPU, with those of its children that have ended


@contextmanager
def counted(known: Mapping[int, str]) -> Iterator[dict[tuple[str, int], float]]:
    """Count, until the block ends, how many cores each process of ours took.

    A child counts as its nearest ancestor that is known, and else by its program; what is not ours, the
    host of a virtual machine among it, as `OTHERS`.
    """
    cores: dict[tuple[str, int], float] = {}
    before, busy, began = _seconds(known), _busy(), monotonic()
    yield cores
    after, lasted = _seconds(known), monotonic() - began
    for who, had in after.items():
        cores[who] = max((had - before.get(who, 0)) / lasted, 0)
    cores[OTHERS, 0] = max((_busy() - busy) / lasted - sum(cores.values()), 0)


@contextmanager
def burnt(cores: Cores) -> Iterator[None]:
    """Take as many cores until the block ends: a process for each, as nice, in a session of its own."""
    spawning = multiprocessing.get_context("spawn")
    over = spawning.Event()
    processes = [
        spawning.Process(target=_burn, args=(share, nice, over))
        for (_, nice), share in cores.items()
        if share > _LITTLE
    ]
    for each in processes:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in processes:
            each.join()


def yield_to_others(nice: int) -> None:
    """Be so nice; Linux may share the CPU between sessions first (sched(7), autogroup)."""
    os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def _burn(share: float, nice: int, over: Event) -> None:
    yield_to_others(nice)
    began, had = monotonic(), process_time()
    while not over.is_set():
        if process_time() - had < share * (monotonic() - began):
            until = process_time() + _PIECE
            while process_time() < until:
                pass
        else:
            over.wait(_PIECE)


def _seconds(known: Mapping[int, str]) -> dict[tuple[str, int], float]:
    """Sum the seconds of CPU that our descendants have had so far."""
    seconds: dict[tuple[str, int], float] = {}
    processes = dict(_processes())
    for pid, each in processes.items():
        if (name := _name(pid, processes, known)) is not None:
            seconds[name, each.nice] = seconds.get((name, each.nice), 0) + each.seconds
    return seconds


def _name(pid: int, processes: Mapping[int, _Process], known: Mapping[int, str]) -> str | None:
    while pid in processes:
        if pid in known:
            return known[pid]
        if processes[pid].parent == os.getpid():
            return processes[pid].program
        pid = processes[pid].parent
    return None


def _processes() -> Iterator[tuple[int, _Process]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            head, _, rest = (folder / "stat").read_text().rpartition(")")
            of = rest.split()
            seconds = sum(int(each) for each in of[11:15]) / _TICKS
            program = head.partition("(")[2]
            yield int(folder.name), _Process(program, int(of[1]), int(of[16]), seconds)


def _busy() -> float:
    """Sum the seconds of CPU that all processes of this machine have had, and what its host took."""
    of = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(of) - of[3] - of[4]) / _TICKS  # but for what was idle, or waited for a disk
