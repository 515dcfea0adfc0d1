"""What a simulator remembers over a restart: JSON lines, only ever appended."""

import json
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path

Json = Mapping[str, object]


class Journal:
    """The lines of one simulator; without a folder they are forgotten.

    Each line is one unbuffered write, so `kill -9` loses at most the line being written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "journal.jsonl" if folder else None
        self._file: FileIO | None = None

    def replay(self) -> Iterator[dict[str, object]]:
        """Return all lines, oldest first; a torn last line is cut off, so the next stands alone."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        good = 0
        if self._path.exists():
            with self._path.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    good += len(line)
                    yield json.loads(line)
        self._file = FileIO(self._path, "r+" if self._path.exists() else "x+")
        self._file.truncate(good)
        self._file.seek(good)

    def append(self, kind: str, line: Json) -> None:
        """Write one line down."""
        if self._file is not None:
            written = json.dumps({"kind": kind, **line}, separators=(",", ":"))
            self._file.write(written.encode() + b"\n")

    def close(self) -> None:
        """Close the file; what is written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
