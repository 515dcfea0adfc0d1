"""A spool: bytes on their way to the store, hashed as they come, with bounded memory.

In memory up to 1 MiB, then in a temporary file without a name, so that nothing stays behind when
the process is killed.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

_IN_MEMORY = 1024 * 1024


class Spool:
    """What arrived so far: `size` in bytes, `sha256` in hex. Raises `OSError` of the disk."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = sha256()
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # Closing flushes, and on a full disk that fails once more; the first failure was told.
            with suppress(OSError):
                self._file.close()

    async def write(self, chunk: bytes) -> None:
        """Append bytes; a thread hashes and writes them, a MiB at a time, so that the loop goes on."""
        self.size += len(chunk)
        self._buffer += chunk
        if len(self._buffer) >= _IN_MEMORY:
            await asyncio.to_thread(self._spill)

    @contextmanager
    def finish(self) -> Iterator[bytes | mmap]:
        """End the writing, and show all that was written. Blocks: call it in a thread."""
        if self._file is None:
            self._hash.update(self._buffer)
            yield bytes(self._buffer)
            return
        self._spill()
        self._file.flush()
        self._file.seek(0)
        with mmap(self._file.fileno(), 0, access=ACCESS_READ) as view:
            yield view

    @property
    def sha256(self) -> str:
        """The hash of all bytes, once finished."""
        return self._hash.hexdigest()

    @property
    def source(self) -> bytes | Path:
        """All bytes, once finished: themselves, or a path to them while the spool is open.

        A path and not the file: obstore reads it without waiting for Python's lock.
        """
        return bytes(self._buffer) if self._file is None else Path(f"/dev/fd/{self._file.fileno()}")

    def read(self) -> bytes:
        """Return all bytes, once finished. Blocks: call it in a thread."""
        source = self.source
        return source if isinstance(source, bytes) else source.read_bytes()

    def _spill(self) -> None:
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115 -- closed in __exit__
        self._hash.update(self._buffer)
        self._file.write(self._buffer)
        self._buffer.clear()
