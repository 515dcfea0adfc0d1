"""The walls between projects, on every route that the OpenAPI shows."""

import re
from collections.abc import Mapping

import httpx
import pytest

from models import ids
from tests.conftest import PLAIN
from tests.integration.api.client import Api, Body, problem
from tests.integration.api.contract import NAMED, Operation, nobodys, one_of_each, operations

# What changes by itself: signatures at midnight, and when a key was last used, half a minute late.
_SIGNED = re.compile(r'\?exp=\d+&sig=[\w-]+|"url_expires_at":"[^"]*"|"last_used_at":("[^"]*"|null)')
OPERATIONS = operations()
OF_ONE = [each for each in OPERATIONS if each.of]
OF_MANY = [each for each in OPERATIONS if not each.of and each.method == "GET"]
FILTERED = [each for each in OPERATIONS if each.query & set(NAMED)]


@pytest.fixture(scope="module")
async def things(shared: Api) -> Mapping[str, str]:
    return await one_of_each(shared)


@pytest.fixture(scope="module")
async def untouched(shared: Api, things: Mapping[str, str]) -> list[str]:
    """How the first project saw its things before any stranger asked for them."""
    return await _seen(shared, things)


@pytest.fixture(scope="module")
async def stranger(shared: Api) -> Mapping[str, str]:
    """The header of another project's key, which has every scope."""
    return await shared.another_project("stranger")


@pytest.fixture
async def client(shared: Api) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=shared.url, trust_env=False, verify=PLAIN)


@pytest.mark.parametrize("operation", OF_ONE, ids=str)
async def test_another_projects_thing_is_answered_as_one_that_is_not_there(
    shared: Api,
    client: httpx.AsyncClient,
    things: Mapping[str, str],
    untouched: list[str],
    stranger: Mapping[str, str],
    operation: Operation,
) -> None:
    async with client:
        answers = [await operation.ask(client, asked, stranger) for asked in (things, {})]
        head = await client.head(
            operation.path.replace("{n}", "0")
            .replace("{kind}", "png")
            .replace("{id}", things[operation.of["id"]]),
            headers=stranger,
        )
    said = [problem(each, 404, "not_found") for each in answers]
    for each in said:
        del each["instance"], each["request_id"]
    assert said[0] == said[1]
    assert head.status_code in {404, 405}
    assert await _seen(shared, things) == untouched, "nothing happened to it"


@pytest.mark.parametrize("operation", OF_MANY, ids=str)
async def test_no_list_and_no_report_shows_what_is_anothers(
    client: httpx.AsyncClient,
    things: Mapping[str, str],
    stranger: Mapping[str, str],
    operation: Operation,
) -> None:
    async with client:
        answer = await operation.ask(client, {}, stranger)
    assert answer.status_code == 200, answer.text
    assert [each for each in things.values() if each in answer.text] == []


@pytest.mark.parametrize("operation", FILTERED, ids=str)
async def test_asking_for_anothers_finds_what_asking_for_nobodys_finds(
    client: httpx.AsyncClient,
    things: Mapping[str, str],
    stranger: Mapping[str, str],
    operation: Operation,
) -> None:
    async with client:
        for name in operation.query & set(NAMED):
            prefix = NAMED[name]
            found = [
                await operation.ask(client, {}, stranger, **{name: asked})
                for asked in (things[prefix], nobodys(prefix))
            ]
            assert found[0].status_code == 200, found[0].text
            assert found[0].json() == found[1].json()


async def test_a_budget_on_anothers_key_is_refused_as_one_on_nobodys(
    client: httpx.AsyncClient, things: Mapping[str, str], stranger: Mapping[str, str]
) -> None:
    said: list[Body] = []
    async with client:
        for key in (things[ids.KEY], nobodys(ids.KEY)):
            rule = {"scope": "key", "key_id": key, "window": "day", "limit": 1}
            answer = await client.put("/v1/budgets", json=rule, headers=stranger)
            said.append(problem(answer, 404, "not_found"))
    for each in said:
        del each["request_id"]
    assert said[0] == said[1]


async def test_an_idempotency_key_of_another_project_replays_nothing(
    shared: Api, client: httpx.AsyncClient, stranger: Mapping[str, str]
) -> None:
    submit = next(each for each in OPERATIONS if str(each) == "POST /v1/jobs")
    named = {"idempotency-key": "order-17"}
    own = {**dict(shared.client.headers), **named}
    async with client:
        mine = await submit.ask(client, {}, {"authorization": own["authorization"], **named})
        theirs = await submit.ask(client, {}, {**stranger, **named})
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]
    assert "idempotent-replayed" not in theirs.headers


async def _seen(shared: Api, things: Mapping[str, str]) -> list[str]:
    """Return how the first project sees its things, but for the end of its images' URLs, which moves on."""
    paths = (
        f"/v1/jobs/{things[ids.JOB]}", f"/v1/webhooks/{things[ids.ENDPOINT]}",
        f"/v1/deliveries/{things[ids.DELIVERY]}", "/v1/keys", "/v1/budgets",
    )  # fmt: skip
    seen = [(await shared.client.get(each)).text for each in paths]
    return [_SIGNED.sub("", each) for each in seen]
