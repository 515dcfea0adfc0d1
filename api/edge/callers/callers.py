"""Who is asking: an API key, or a browser's session that acts as one; looked up, believed, and counted."""

import sys
from uuid import UUID

import structlog
from fastapi import Request

from api.edge.callers import addresses
from api.edge.callers.credentials import Credentials
from api.edge.callers.rates import Quota, Rates, exhausted
from api.edge.callers.shares import Shares
from api.edge.callers.uses import Uses
from models import ids
from models.accounts import api_keys, callers, sessions
from models.accounts.callers import Caller
from models.audit_log import actors
from models.audit_log.actors import Actor
from models.errors import CsrfMissing, Unauthenticated
from models.platform.db import Database
from models.states import Acting

# `__Host-` where browsers demand TLS for it: no neighbour under the same domain can then set it.
COOKIES = ("__Host-darkroom", "darkroom")
_READING = {"GET", "HEAD"}


class Callers:
    """The keys and sessions of one process that were seen lately, and whose they are."""

    def __init__(
        self,
        database: Database,
        rates: Rates,
        balancers: tuple[addresses.Network, ...] = (),
        shares: Shares | None = None,
    ) -> None:
        self._rates = rates
        self._balancers = balancers
        self._shares = shares or Shares(sys.maxsize)
        self.uses = Uses(database)
        self._keys = Credentials(database, callers.callers, api_keys.well_formed)
        self._sessions = Credentials(database, sessions.callers, sessions.well_formed)

    async def admit(self, request: Request) -> Caller:
        """Return whose key, or else whose session, came with a request, which counts once.

        Raises as `identify` and `of_session`, and `TooMany`. The door tells what is left of the key's
        quota with every answer (`quota_of`).
        """
        admitted = getattr(request.state, "caller", None)
        if isinstance(admitted, Caller):
            return admitted
        authorization = request.headers.get("authorization")
        token = session_token(request) if authorization is None else None
        if token is None:
            caller = await self.identify(authorization)
        else:
            caller = await self.of_session(request, token)
        self.count(request, caller)
        self.hold(request, caller.project_id)
        request.state.caller = caller
        self.uses.note(caller.key_id)
        self.enter(request, caller, "key" if token is None else "session")
        if not caller.is_operator:
            project_id = ids.text(ids.PROJECT, caller.project_id)
            structlog.contextvars.bind_contextvars(project_id=project_id)
        return caller

    def enter(
        self, request: Request, caller: Caller | None = None, acting: Acting = "darkroom"
    ) -> None:
        """Name who acts in this request, as far as it is known, to the audit log."""
        actors.enter(
            Actor(
                "operator" if caller is not None and caller.is_operator else acting,
                key_id=None if caller is None else caller.key_id,
                address=addresses.of_client(request, self._balancers),
                request_id=str(getattr(request.state, "request_id", "")) or None,
            )
        )

    def count(self, request: Request, caller: Caller) -> None:
        """Count a request to its key and its project; raises `TooMany`."""
        project_id = None if caller.is_operator else caller.project_id
        request.state.quota, fits = self._rates.spend(caller.key_id, project_id)
        if not fits:
            raise exhausted(request.state.quota)

    def hold(self, request: Request, project_id: UUID) -> None:
        """Count a request as one of its project's that are under way; raises `TooMany`."""
        self._shares.enter(request, project_id)

    async def identify(self, authorization: str | None) -> Caller:
        """Return who presents `Authorization: Bearer <key>`; raise `Unauthenticated`."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("Send `Authorization: Bearer <API key>`.")
        caller = await self._keys.caller(key.strip())
        if caller is None:
            raise Unauthenticated(
                "This API key is mistyped, unknown, expired or revoked; check it, or ask for one."
            )
        return caller

    async def of_session(self, request: Request, token: str) -> Caller:
        """Return as whom a session acts; raises `Unauthenticated`, or `CsrfMissing` for a bare write.

        A browser sends its cookies with any page's request; only our own page can know the CSRF token.
        """
        caller = await self._sessions.caller(token)
        if caller is None:
            raise Unauthenticated("The session has ended; sign in again.")
        given = request.headers.get("x-csrf-token", "")
        if request.method not in _READING and not sessions.has_csrf_token(token, given):
            raise CsrfMissing("This write has no valid `X-CSRF-Token`; GET /session tells it.")
        return caller

    def forget(self, token: str) -> None:
        """Forget a session, so that its next use is looked up."""
        self._sessions.forget(token)


def session_token(request: Request) -> str | None:
    """Return the session's token that a browser sent, if any."""
    cookies = request.cookies
    return next((cookies[name] for name in COOKIES if cookies.get(name)), None)


def owner_of(request: Request) -> UUID | None:
    """Return the project of a request whose key was admitted; None before that."""
    caller = getattr(request.state, "caller", None)
    return caller.project_id if isinstance(caller, Caller) else None


def quota_of(request: Request) -> Quota | None:
    """Return what is left to the key of a request that was counted."""
    quota = getattr(request.state, "quota", None)
    return quota if isinstance(quota, Quota) else None
