"""What a route is given: the caller, a transaction, an idempotency key, an id; all typed."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from pydantic import PlainValidator, WithJsonSchema

from api.dependencies.state import State, state_of
from models import ids
from models.accounts import living
from models.accounts.callers import Caller
from models.errors import FieldError, InvalidRequest, NotFound
from models.platform.db import Transaction
from models.platform.db.direct import DirectTransaction
from models.states import Scope

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_HERE = " in this project"


# Every dependency is async: FastAPI runs others in a thread, which costs more than what they do.
async def _here(request: Request) -> State:
    return state_of(request)


Here = Annotated[State, Depends(_here)]


async def _transaction(request: Request, here: Here) -> AsyncIterator[Transaction]:
    caller = await here.callers.admit(request)
    async with here.turns.open(caller.project_id) as tx:
        yield tx


# `scope="function"`: the commit comes before the answer. By default FastAPI runs what follows a `yield`
# after the response has been sent, and a COMMIT that fails would have been answered 202.
Tx = Annotated[Transaction, Depends(_transaction, scope="function")]


async def _living(request: Request, here: Here, tx: Tx) -> Transaction:
    caller = await here.callers.admit(request)
    await living.demand(tx, caller.key_id, caller.project_id)
    return tx


# The same for what outlives the key: it is asked about once more, for processes believe it for seconds.
LivingTx = Annotated[Transaction, Depends(_living, scope="function")]


async def _direct(request: Request, here: Here) -> AsyncIterator[DirectTransaction]:
    caller = await here.callers.admit(request)
    async with here.turns.direct(caller.project_id) as tx:
        await living.demand(tx, caller.key_id, caller.project_id)
        yield tx


# The same again for what runs prepared statements alone, at a fifth of the CPU.
DirectTx = Annotated[DirectTransaction, Depends(_direct, scope="function")]


async def _reading(request: Request, here: Here) -> AsyncIterator[Transaction]:
    caller = await here.callers.admit(request)
    async with here.reports.open(caller.project_id) as tx:
        yield tx


# For whatever reads rows of which a project may have many.
Reading = Annotated[Transaction, Depends(_reading, scope="function")]


class _Bearer(SecurityBase):
    """What OpenAPI says of API keys; FastAPI finds it among a route's dependencies."""

    model = HTTPBearer(description="An API key: `dr_live_…`. Beside it, the scope that it needs.")
    scheme_name = "HTTPBearer"

    async def __call__(self) -> None:
        """Check nothing: for routes that look at the key themselves."""


class Key(_Bearer):
    """A dependency that returns the caller, and demands a scope of its key: any one of these."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = scopes

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]  # pyrefly: ignore[bad-override]  # FastAPI reads each signature by itself
        """Return the caller; raise `Unauthenticated`, `ScopeMissing` or `TooMany`."""
        caller = await state_of(request).callers.admit(request)
        self.demand(caller)
        return caller

    def demand(self, caller: Caller) -> None:
        """Raise `ScopeMissing` unless the key has what is asked for."""
        if not any(scope in caller.scopes for scope in self._scopes):
            caller.demand(self._scopes[0])


# The scope stands twice: once for the check, once for OpenAPI.
Writer = Annotated[Caller, Security(Key("jobs:write"), scopes=["jobs:write"])]
Reader = Annotated[Caller, Security(Key("jobs:read"), scopes=["jobs:read"])]
# For what both need: clients of OpenAI's shape have one key, and list the models with it. For a router, or
# a route, that has no use for the caller itself.
EITHER_SCOPE = [Security(Key("jobs:read", "jobs:write"), scopes=["jobs:read"])]
EITHER = {"security": [{_Bearer.scheme_name: ["jobs:write"]}]}  # beside the first, for OpenAPI
Hooker = Annotated[Caller, Security(Key("webhooks"), scopes=["webhooks"])]
Usage = Annotated[Caller, Security(Key("usage:read"), scopes=["usage:read"])]
Admin = Annotated[Caller, Security(Key("admin"), scopes=["admin"])]
# Of no project: what belongs to one is not found with it, and what it opens no key of a project does.
_OPERATOR = Security(Key("operator"), scopes=["operator"])
Operator = Annotated[Caller, _OPERATOR]
ANY_OPERATOR = [_OPERATOR]
documented_reader = [Security(_Bearer(), scopes=["jobs:read"])]


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key of a request; raises `InvalidRequest` for one that cannot be one.

    Documented by `WITH_KEY`: as a parameter it would cost as much as the look-up of the API key.
    """
    given = request.headers.get("idempotency-key")
    if given is not None and not _KEY.fullmatch(given):
        message = "use 1 to 255 visible ASCII characters, without spaces"
        raise InvalidRequest(
            f"The Idempotency-Key cannot be used: {message}.",
            errors=(FieldError("header:Idempotency-Key", message),),
        )
    return given


# An id is judged by a validator: what it refuses passes through Pydantic as it is.
def _parser(prefix: str, noun: str, where: str = _HERE) -> Callable[[str], UUID]:
    def parse(given: str) -> UUID:
        parsed = ids.parse(prefix, given)
        if parsed is None:
            raise NotFound(f"There is no such {noun}{where}.")
        return parsed

    return parse


def _in_path(prefix: str) -> object:
    return Path(alias="id", description=f"`{prefix}_…`")


_AS_TEXT = WithJsonSchema({"type": "string"})
JobId = Annotated[UUID, _in_path(ids.JOB), PlainValidator(_parser(ids.JOB, "job")), _AS_TEXT]


def _batch(given: str) -> UUID:
    parsed = ids.batch(given)
    if parsed is None:
        raise NotFound(f"There is no such batch{_HERE}.")
    return parsed


BatchId = Annotated[UUID, _in_path(ids.BATCH), PlainValidator(_batch), _AS_TEXT]
EndpointId = Annotated[
    UUID, _in_path(ids.ENDPOINT), PlainValidator(_parser(ids.ENDPOINT, "endpoint")), _AS_TEXT
]
DeliveryId = Annotated[
    UUID, _in_path(ids.DELIVERY), PlainValidator(_parser(ids.DELIVERY, "delivery")), _AS_TEXT
]
ErasureId = Annotated[
    UUID, _in_path(ids.ERASURE), PlainValidator(_parser(ids.ERASURE, "erasure")), _AS_TEXT
]
FileId = Annotated[UUID, _in_path(ids.FILE), PlainValidator(_parser(ids.FILE, "file")), _AS_TEXT]
ActionId = Annotated[
    UUID, _in_path(ids.ACTION), PlainValidator(_parser(ids.ACTION, "action")), _AS_TEXT
]
BudgetId = Annotated[
    UUID, _in_path(ids.BUDGET), PlainValidator(_parser(ids.BUDGET, "budget")), _AS_TEXT
]
ProjectId = Annotated[
    UUID, _in_path(ids.PROJECT), PlainValidator(_parser(ids.PROJECT, "project", "")), _AS_TEXT
]
KeyId = Annotated[UUID, _in_path(ids.KEY), PlainValidator(_parser(ids.KEY, "API key")), _AS_TEXT]
# The same of any project, as an operator names them.
AnyJobId = Annotated[UUID, _in_path(ids.JOB), PlainValidator(_parser(ids.JOB, "job", "")), _AS_TEXT]
AnyActionId = Annotated[
    UUID, _in_path(ids.ACTION), PlainValidator(_parser(ids.ACTION, "action", "")), _AS_TEXT
]
AnyKeyId = Annotated[
    UUID, _in_path(ids.KEY), PlainValidator(_parser(ids.KEY, "API key", "")), _AS_TEXT
]
