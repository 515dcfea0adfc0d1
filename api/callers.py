"""Who is asking: API keys, looked up once and believed for a few seconds."""

import time
from hashlib import sha256

from models import projects
from models.db import Database
from models.errors import Unauthenticated
from models.projects import Caller

_BELIEVED = 5.0  # seconds: as long as a revoked key may still work
_KNOWN_MAX = 10_000


class Callers:
    """Keys seen lately, and whose they are. Only keys that are good are remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, tuple[float, Caller]] = {}

    async def identify(self, authorization: str | None) -> Caller:
        """Tell who presents `Authorization: Bearer <key>`; raises `Unauthenticated`."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("Send `Authorization: Bearer <API key>`.")
        digest, now = sha256(key.strip().encode()).digest(), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now - known[0] < _BELIEVED:
            return known[1]
        async with self._database.transaction() as tx:
            caller = await projects.caller(tx, key.strip())
        if caller is None:
            self._known.pop(digest, None)
            raise Unauthenticated(
                "This API key is mistyped, unknown, expired or revoked; check it, or ask for one."
            )
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[digest] = (now, caller)
        return caller
