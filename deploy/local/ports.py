"""Ports on 127.0.0.1: which are free, and which one a folder used last."""

import secrets
import socket
from pathlib import Path

# Below every usual ephemeral range: no outgoing connection takes a server's port while it restarts.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200

# Of this process: nobody may listen yet at what was picked, and a server that restarts wants its port back.
_given: set[int] = set()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: connections that ended a moment ago do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def pick() -> int:
    """Find a free port that was not given before, at random, so that two pickers at once rarely meet."""
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError("no free port on 127.0.0.1")


def remembered(note: Path) -> int:
    """Return the port written in `note` while it is free, otherwise pick one and write it there."""
    port = int(note.read_text()) if note.exists() else 0
    if not port or not is_free(port):
        port = pick()
        note.write_text(str(port))
    _given.add(port)
    return port
