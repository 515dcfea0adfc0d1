"""What a route is given: the caller, a transaction, an idempotency key, an id; all typed."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from api.state import State, state_of
from models import ids
from models.db import Transaction
from models.errors import FieldError, InvalidRequest, NotFound
from models.projects import Caller
from models.states import Scope

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


# Every dependency is async: FastAPI runs others in a thread, which costs more than what they do.
async def _here(request: Request) -> State:
    return state_of(request)


Here = Annotated[State, Depends(_here)]


async def _transaction(here: Here) -> AsyncIterator[Transaction]:
    async with here.database.transaction() as tx:
        yield tx


# `scope="function"`: the commit comes before the answer. By default FastAPI runs what follows a `yield`
# after the response has been sent, and a COMMIT that fails would have been answered 202.
Tx = Annotated[Transaction, Depends(_transaction, scope="function")]


class _Bearer(SecurityBase):
    """What OpenAPI says of API keys; FastAPI finds it among a route's dependencies."""

    model = HTTPBearer(description="An API key: `dr_live_…`. Beside it, the scope that it needs.")
    scheme_name = "HTTPBearer"

    async def __call__(self) -> None:
        """Check nothing: for routes that look at the key themselves."""


class _Key(_Bearer):
    """Gives the caller, and demands a scope of its key."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]  # pyrefly: ignore[bad-override]  # FastAPI reads each signature by itself
        """Tell who asks; raises `Unauthenticated`, `ScopeMissing`, `TooMany`."""
        caller = await state_of(request).callers.admit(request)
        caller.demand(self._scope)
        return caller


# The scope stands twice: once for the check, once for OpenAPI.
Writer = Annotated[Caller, Security(_Key("jobs:write"), scopes=["jobs:write"])]
Reader = Annotated[Caller, Security(_Key("jobs:read"), scopes=["jobs:read"])]
Hooker = Annotated[Caller, Security(_Key("webhooks"), scopes=["webhooks"])]
Usage = Annotated[Caller, Security(_Key("usage:read"), scopes=["usage:read"])]
Admin = Annotated[Caller, Security(_Key("admin"), scopes=["admin"])]
documented = [Depends(_Bearer())]
documented_reader = [Security(_Bearer(), scopes=["jobs:read"])]


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None, Header(description="1-255 visible ASCII characters; one key, one job.")
    ] = None,
) -> str | None:
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        message = "use 1 to 255 visible ASCII characters, without spaces"
        raise InvalidRequest(
            f"The Idempotency-Key cannot be used: {message}.",
            errors=(FieldError("header:Idempotency-Key", message),),
        )
    return idempotency_key


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]


def _parsed(prefix: str, noun: str) -> Callable[[str], Awaitable[UUID]]:
    async def parse(id: Annotated[str, Path(description=f"`{prefix}_…`")]) -> UUID:  # noqa: A002
        parsed = ids.parse(prefix, id)
        if parsed is None:
            raise NotFound(f"There is no such {noun} in this project.")
        return parsed

    return parse


JobId = Annotated[UUID, Depends(_parsed(ids.JOB, "job"))]
EndpointId = Annotated[UUID, Depends(_parsed(ids.ENDPOINT, "endpoint"))]
DeliveryId = Annotated[UUID, Depends(_parsed(ids.DELIVERY, "delivery"))]
BudgetId = Annotated[UUID, Depends(_parsed(ids.BUDGET, "budget"))]
KeyId = Annotated[UUID, Depends(_parsed(ids.KEY, "API key"))]
