"""Who is asking: API keys, looked up once and believed for a few seconds, and counted."""

import time
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

import structlog
from fastapi import Request

from api.edge.lookups import Lookups
from api.edge.rates import Quota, Rates, exhausted
from models import ids
from models.accounts import projects
from models.accounts.projects import Caller
from models.errors import Unauthenticated
from models.platform.db import Database

Seen = TypeVar("Seen")

_BELIEVED = 5.0  # seconds: as long as a revoked key may still work
_KEPT_MAX = 10_000  # of each kind


class Callers:
    """Keys seen lately, and whose they are.

    A key is looked up once in `_BELIEVED`, good or not, however many requests come with it at once. One
    whose form or CRC is wrong costs nothing; all others are looked up together (`lookups`), so that
    garbage cannot keep Postgres busy, nor get into the way of good keys, seen before or not.
    """

    def __init__(self, database: Database, rates: Rates) -> None:
        self._database = database
        self._rates = rates
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._unknown: dict[bytes, float] = {}
        self._lookups = Lookups(database)

    async def admit(self, request: Request) -> Caller:
        """Tell whose key came with a request, which counts once; raises as `identify`, and `TooMany`.

        The door tells what is left of the key's quota with every answer (`quota_of`).
        """
        admitted = getattr(request.state, "caller", None)
        if isinstance(admitted, Caller):
            return admitted
        caller = await self.identify(request.headers.get("authorization"))
        request.state.quota, fits = self._rates.spend(caller.key_id)
        if not fits:
            raise exhausted(request.state.quota)
        request.state.caller = caller
        structlog.contextvars.bind_contextvars(project_id=ids.text(ids.PROJECT, caller.project_id))
        return caller

    async def identify(self, authorization: str | None) -> Caller:
        """Tell who presents `Authorization: Bearer <key>`; raises `Unauthenticated`."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("Send `Authorization: Bearer <API key>`.")
        digest, now = sha256(key.strip().encode()).digest(), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now - known[0] < _BELIEVED:
            return known[1]
        if not projects.well_formed(key.strip()) or now < self._unknown.get(digest, now):
            raise _unauthenticated()
        caller = await self._lookups.find(key.strip())
        self._remember(digest, caller, now)
        if caller is None:
            raise _unauthenticated()
        return caller

    def _remember(self, digest: bytes, caller: Caller | None, now: float) -> None:
        self._known.pop(digest, None)
        self._unknown.pop(digest, None)
        if caller is None:
            _put(self._unknown, digest, now + _BELIEVED)
        else:
            _put(self._known, digest, (now, caller))


def owner_of(request: Request) -> UUID | None:
    """Return the project of a request whose key was admitted; None before that."""
    caller = getattr(request.state, "caller", None)
    return caller.project_id if isinstance(caller, Caller) else None


def quota_of(request: Request) -> Quota | None:
    """Return what is left to the key of a request that was counted."""
    quota = getattr(request.state, "quota", None)
    return quota if isinstance(quota, Quota) else None


def _put(seen: dict[bytes, Seen], digest: bytes, what: Seen) -> None:
    """Remember what was looked up, and forget what was looked up first when there are too many."""
    while len(seen) >= _KEPT_MAX:
        del seen[next(iter(seen))]
    seen[digest] = what


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated(
        "This API key is mistyped, unknown, expired or revoked; check it, or ask for one."
    )
