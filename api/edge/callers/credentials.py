"""Secrets of one kind (API keys, sessions) seen lately, and whom they speak for."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import TypeVar

from models.accounts.callers import Caller
from models.platform.db import Database
from models.platform.db.statements import Reader
from models.platform.together import Together

Find = Callable[[Reader, Sequence[str]], Awaitable[dict[str, Caller]]]
Seen = TypeVar("Seen")

_BELIEVED = 5.0  # seconds: as long as a revoked key may still work
_KEPT_MAX = 10_000  # of each kind
_TOGETHER = 1_000  # secrets of one question: some 5 ms of Postgres'


class Credentials:
    """What was looked up lately, good or not.

    A secret is looked up once in `_BELIEVED`, good or not, however many requests come with it at once. One
    whose form or CRC is wrong costs nothing; all others are looked up together. One that was never seen to
    be good looks like garbage, so none is refused, and none waits behind more than a few questions: garbage
    costs the time of one connection, however much comes, or of three where Postgres takes seconds.
    """

    def __init__(self, database: Database, find: Find, well_formed: Callable[[str], bool]) -> None:
        self._well_formed = well_formed
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._unknown: dict[bytes, float] = {}
        self._lookups = Together(partial(find, database.direct), most=_TOGETHER, joining=True)

    async def caller(self, secret: str) -> Caller | None:
        """Return whom a secret speaks for; None when it is mistyped, unknown, expired or revoked."""
        digest, now = sha256(secret.encode(errors="replace")).digest(), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now - known[0] < _BELIEVED:
            return known[1]
        if not self._well_formed(secret) or now < self._unknown.get(digest, now):
            return None
        caller = await self._lookups.find(secret)
        self._remember(digest, caller, now)
        return caller

    def forget(self, secret: str) -> None:
        """Forget a secret, so that its next use is looked up; other processes do within 5 seconds."""
        digest = sha256(secret.encode(errors="replace")).digest()
        self._known.pop(digest, None)
        self._unknown.pop(digest, None)

    def _remember(self, digest: bytes, caller: Caller | None, now: float) -> None:
        self._known.pop(digest, None)
        self._unknown.pop(digest, None)
        if caller is None:
            _put(self._unknown, digest, now + _BELIEVED)
        else:
            _put(self._known, digest, (now, caller))


def _put(seen: dict[bytes, Seen], digest: bytes, what: Seen) -> None:
    """Remember what was looked up, and forget what was looked up first when there are too many."""
    while len(seen) >= _KEPT_MAX:
        del seen[next(iter(seen))]
    seen[digest] = what
