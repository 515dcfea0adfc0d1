"""A data folder: made when missing, held by one process at a time, its secrets private."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import Misconfigured


@contextmanager
def held(data: Path) -> Iterator[Path]:
    """Hold the folder for this process, making it first; yield its real path.

    Raises `Misconfigured` when it cannot be written or another process holds it. The lock is the
    kernel's, so it ends with the process, however that dies.
    """
    folder = data.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as refused:
        raise Misconfigured(
            f"cannot write to {data} ({refused.strerror}); make it writable or set DARKROOM_DATA"
        ) from None
    try:
        _lock(lock, data)
        yield folder
    finally:
        os.close(lock)


def secret(path: Path, fresh: str | None = None) -> str:
    """Read a secret, or write a fresh one there first, in a file of mode 600."""
    if path.exists():
        return path.read_text().strip()
    written = fresh or secrets.token_hex(32)
    keep(path, written)
    return written


def keep(path: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content + "\n")
    draft.replace(path)


def _lock(lock: int, data: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
        raise Misconfigured(
            f"another stack runs on {data} (process {holder}); stop it, "
            "or set DARKROOM_DATA and DARKROOM_PORT for a second one"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
