"""What a route is given: the caller, a transaction, an idempotency key, an id; all typed."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPBearer

from api.state import State, state_of
from models import ids
from models.db import Transaction
from models.errors import FieldError, InvalidRequest, NotFound
from models.projects import Caller
from models.states import Scope

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_BEARER = HTTPBearer(auto_error=False, description="An API key: `dr_live_…`")

Here = Annotated[State, Depends(state_of)]


async def _transaction(here: Here) -> AsyncIterator[Transaction]:
    async with here.database.transaction() as tx:
        yield tx


# `scope="function"`: the commit comes before the answer. By default FastAPI runs what follows a `yield`
# after the response has been sent, and a COMMIT that fails would have been answered 202.
Tx = Annotated[Transaction, Depends(_transaction, scope="function")]


def caller_with(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Make a dependency that gives the caller, and demands a scope of its key."""

    async def identified(request: Request) -> Caller:
        caller = await state_of(request).callers.identify(request.headers.get("authorization"))
        caller.demand(scope)
        return caller

    return identified


_DOCUMENTED = Depends(_BEARER)  # so that OpenAPI shows the padlock; `identify` decides
Writer = Annotated[Caller, Depends(caller_with("jobs:write"))]
Reader = Annotated[Caller, Depends(caller_with("jobs:read"))]
Hooker = Annotated[Caller, Depends(caller_with("webhooks"))]
Usage = Annotated[Caller, Depends(caller_with("usage:read"))]
Admin = Annotated[Caller, Depends(caller_with("admin"))]
documented = [_DOCUMENTED]


def _idempotency_key(
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


def _parsed(prefix: str, noun: str) -> Callable[[str], UUID]:
    def parse(id: Annotated[str, Path(description=f"`{prefix}_…`")]) -> UUID:  # noqa: A002
        parsed = ids.parse(prefix, id)
        if parsed is None:
            raise NotFound(f"There is no such {noun} in this project.")
        return parsed

    return parse


JobId = Annotated[UUID, Depends(_parsed(ids.JOB, "job"))]
EndpointId = Annotated[UUID, Depends(_parsed(ids.ENDPOINT, "endpoint"))]
BudgetId = Annotated[UUID, Depends(_parsed(ids.BUDGET, "budget"))]
KeyId = Annotated[UUID, Depends(_parsed(ids.KEY, "API key"))]
