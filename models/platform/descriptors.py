"""How many files and sockets this process may have open."""

import resource
from contextlib import suppress

_WANTED = 65_536  # more costs memory in every process that looks at all of them


def raise_limit() -> int:
    """Raise this process's own limit as far as it may, to 65,536 at most; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _WANTED)
