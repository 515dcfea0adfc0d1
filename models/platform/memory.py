"""What a process that runs for weeks does with its memory: Python's garbage, and the C library's arenas."""

import ctypes
import gc

_OBJECTS = 10_000  # more than one request or job makes by far; the default is 700
# What mallopt(3) sets. By default there are eight arenas for each core, and a block of 128 KiB is
# mapped by itself until one is freed: from then on, only larger ones are.
_ARENA_MAX, _ARENAS = -8, 2
_MMAP_THRESHOLD, _BLOCK = -3, 128 * 1024  # bytes


def collect_less() -> None:
    """Put what is loaded out of the collector's sight, and let it look for cycles less often.

    To be called once, when a role has loaded what it keeps. Until then its `__main__` has turned the
    collector off, which took an eighth to a quarter of a start and found nothing. Afterwards a tenth of
    an api process' time was the collector's, walking through a hundred thousand objects that never go.
    What loading has left behind is kept with them, a fiftieth of the objects: to find it takes as long as
    to load a tenth of the modules.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS, 10, 10)
    gc.enable()


def spare_memory() -> None:
    """Let all threads allocate from two arenas, and give a large block back to the system once it is freed.

    To be called once, before a role starts its threads. A worker that has tried its store with 4 MiB takes
    97 MB, and 104 where such blocks stay; with 400 calls in flight one took 135 with two arenas, and 142
    with one for each thread. Only the GNU C library has this; others do as they do.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_ARENA_MAX, _ARENAS)
        library.mallopt(_MMAP_THRESHOLD, _BLOCK)
