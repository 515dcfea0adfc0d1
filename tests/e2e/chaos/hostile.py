"""What others do to us: images that are meant to hurt, and receivers that fail now and then."""

import struct
import threading
import zlib
from collections import Counter
from dataclasses import dataclass, field
from random import Random

_SIDE = 60_000  # pixels: 3.6 thousand megapixels, decoded 10 GiB


@dataclass
class Hostile:
    """Spoils a share of the images, each for its first downloads; then its true bytes come."""

    seed: int
    share: float = 0.03
    times: int = 2
    spoiled: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spoil(self, path: str, body: bytes) -> bytes:
        """Return what this download of this path gets."""
        random = Random(f"{self.seed} {path}")  # noqa: S311  # the same images in every run of a seed
        if random.random() >= self.share:
            return body
        with self._lock:
            self._seen[path] += 1
            if self._seen[path] > self.times:
                return body
            self.spoiled += 1
        kind = random.choice(("truncated", "bomb", "page"))
        if kind == "truncated":
            return body[: len(body) // 2]
        return _BOMB if kind == "bomb" else b"<html>not what was asked for</html>"


@dataclass
class Moody:
    """Fails a share of the webhooks after it has read them: they must come again, under the same id."""

    seed: int
    share: float = 0.03
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311  # a mood, no secret

    def fails(self) -> bool:
        """Return whether this webhook is answered with 500."""
        with self._lock:
            fails = self._random.random() < self.share
            self.failed += fails
        return fails


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# A well-formed PNG of a few kilobytes that says it is 60,000 pixels wide and high.
_BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(bytes(1_000_000), 9))
    + _chunk(b"IEND", b"")
)
