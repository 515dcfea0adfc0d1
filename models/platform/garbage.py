"""How Python collects garbage in a process that runs for weeks."""

import gc

_OBJECTS = 10_000  # more than one request or job makes by far; the default is 700


def collect_less() -> None:
    """Put what is loaded out of the collector's sight, and let it look for cycles less often.

    To be called once, when a role has loaded what it keeps. Until then its `__main__` has turned the
    collector off, which took an eighth to a quarter of a start and found nothing. Afterwards a tenth of
    an api process' time was the collector's, walking through a hundred thousand objects that never go.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, 10, 10)
    gc.enable()
