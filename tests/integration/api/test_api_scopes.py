"""Every route that the OpenAPI shows, with every scope there is: what it documents is what it demands."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import walk_packages

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from api import routes
from models.states import SCOPES
from tests.conftest import PLAIN
from tests.integration.api.client import Api, problem
from tests.integration.api.contract import OPEN, Operation, operations, operator_operations

OPERATIONS = operations()
OPERATED = operator_operations()
NOTHING: Mapping[str, str] = {}


@pytest.fixture(scope="module")
async def keys(shared: Api) -> Mapping[str, Mapping[str, str]]:
    """A key of each scope, and of no other."""
    return {scope: await shared.key_with(scope) for scope in SCOPES}


@pytest.fixture(scope="module")
async def operator(shared: Api) -> Mapping[str, str]:
    """An operator's key."""
    return await shared.operator()


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
async def test_a_route_demands_the_scope_it_documents_and_admin_has_every_one(
    shared: Api, keys: Mapping[str, Mapping[str, str]], operation: Operation
) -> None:
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, verify=PLAIN) as client:
        problem(await operation.ask(client, NOTHING, {}), 401, "unauthenticated")
        for scope, key in keys.items():
            answer = await operation.ask(client, NOTHING, key)
            if scope in {operation.scope, *operation.also, "admin"}:
                assert answer.status_code in {200, 201, 202, 204, 404, 504}, answer.text
            else:
                said = problem(answer, 403, "scope_missing")
                assert repr(operation.scope) in str(said["detail"])


@pytest.mark.parametrize("operation", OPERATED, ids=str)
async def test_the_operator_plane_is_closed_to_every_key_of_a_project(
    shared: Api,
    keys: Mapping[str, Mapping[str, str]],
    operator: Mapping[str, str],
    operation: Operation,
) -> None:
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, verify=PLAIN) as client:
        problem(await operation.ask(client, NOTHING, {}), 401, "unauthenticated")
        for key in (shared.client.headers, *keys.values()):
            said = {"authorization": key["authorization"]}
            answer = problem(await operation.ask(client, NOTHING, said), 403, "scope_missing")
            assert "'operator'" in str(answer["detail"])
        opened = await operation.ask(client, NOTHING, operator)
    assert opened.status_code in {200, 201, 202, 404, 409}, opened.text


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
async def test_an_operators_key_opens_nothing_of_a_project(
    shared: Api, operator: Mapping[str, str], operation: Operation
) -> None:
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, verify=PLAIN) as client:
        problem(await operation.ask(client, NOTHING, operator), 403, "scope_missing")


def test_every_route_is_shown_but_the_head_of_what_is_shown() -> None:
    modules = [
        import_module(each.name) for each in walk_packages(routes.__path__, f"{routes.__name__}.")
    ]
    routers = [
        each for module in modules for each in vars(module).values() if isinstance(each, APIRouter)
    ]
    served = [route for each in routers for route in each.routes if isinstance(route, APIRoute)]
    shown = {each.path for each in (*OPERATIONS, *OPERATED)} | OPEN
    assert {each.path.replace(":path", "") for each in served} == shown
    hidden = [each for each in served if not each.include_in_schema]
    asks = ({"HEAD"}, {"OPTIONS"})
    assert [each.path for each in hidden if each.methods not in asks] == []
