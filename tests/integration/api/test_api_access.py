"""Who may do what: keys, scopes, and the walls between projects, on every route there is."""

import asyncio
import json
import re
from collections.abc import Mapping

import httpx
import pytest

from api.openapi import describe
from models import ids
from models.accounts import api_keys
from models.states import SCOPES, ProjectScope
from tests.conftest import PLAIN
from tests.integration.api.client import Api, bearer, body, input_, path, problem
from tests.integration.api.contract import IMPATIENT

OPEN = {"/healthz", "/readyz", "/metrics"}
SCOPE: dict[tuple[str, str], ProjectScope] = {
    ("GET", "/v1/models"): "jobs:read",
    ("GET", "/v1/models/{model}"): "jobs:read",
    ("GET", "/v1/jobs/{id}/images/{n}/{kind}"): "jobs:read",
    ("POST", "/v1/images/generations"): "jobs:write",
    ("POST", "/v1/images/edits"): "jobs:write",
    ("POST", "/v1/jobs"): "jobs:write",
    ("GET", "/v1/jobs"): "jobs:read",
    ("GET", "/v1/jobs/{id}"): "jobs:read",
    ("DELETE", "/v1/jobs/{id}"): "jobs:write",
    ("POST", "/v1/jobs/{id}/cancel"): "jobs:write",
    ("POST", "/v1/jobs/{id}/retry"): "jobs:write",
    ("GET", "/v1/jobs/{id}/events"): "jobs:read",
    ("GET", "/v1/jobs/{id}/explain"): "jobs:read",
    ("GET", "/v1/jobs/{id}/images/{n}"): "jobs:read",
    ("GET", "/v1/jobs/{id}/images/{n}/thumbnail"): "jobs:read",
    ("GET", "/v1/jobs/{id}/deliveries"): "jobs:read",
    ("GET", "/v1/jobs/{id}/references/{n}"): "jobs:read",
    ("POST", "/v1/jobs/{id}/share"): "jobs:read",
    ("GET", "/v1/events"): "jobs:read",
    ("POST", "/v1/quotes"): "jobs:read",
    ("POST", "/v1/webhooks"): "webhooks",
    ("GET", "/v1/webhooks"): "webhooks",
    ("GET", "/v1/webhooks/project-secret"): "webhooks",
    ("POST", "/v1/webhooks/project-secret/rotate"): "webhooks",
    ("GET", "/v1/webhooks/{id}"): "webhooks",
    ("PATCH", "/v1/webhooks/{id}"): "webhooks",
    ("DELETE", "/v1/webhooks/{id}"): "webhooks",
    ("POST", "/v1/webhooks/{id}/enable"): "webhooks",
    ("POST", "/v1/webhooks/{id}/rotate"): "webhooks",
    ("POST", "/v1/webhooks/{id}/replay"): "webhooks",
    ("POST", "/v1/webhooks/{id}/test"): "webhooks",
    ("GET", "/v1/webhooks/{id}/deliveries"): "webhooks",
    ("GET", "/v1/deliveries/{id}"): "webhooks",
    ("POST", "/v1/deliveries/{id}/redeliver"): "webhooks",
    ("GET", "/v1/usage"): "usage:read",
    ("GET", "/v1/ledger"): "usage:read",
    ("GET", "/v1/budgets"): "usage:read",
    ("PUT", "/v1/budgets"): "admin",
    ("DELETE", "/v1/budgets/{id}"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("GET", "/v1/keys"): "admin",
    ("GET", "/v1/audit"): "admin",
    ("DELETE", "/v1/keys/{id}"): "admin",
    ("POST", "/v1/keys/{id}/rotate"): "admin",
}
BODY: dict[tuple[str, str], object] = {
    ("POST", "/v1/jobs"): body(),
    ("POST", "/v1/images/generations"): input_(),
    ("POST", "/v1/images/edits"): input_(image_urls=["https://example.com/a.png"]),
    ("POST", "/v1/quotes"): body(),
    ("POST", "/v1/webhooks"): {"url": "https://example.com/hook"},
    ("PATCH", "/v1/webhooks/{id}"): {"description": "d"},
    ("POST", "/v1/webhooks/{id}/replay"): {"since": "2026-01-01T00:00:00Z"},
    ("POST", "/v1/keys"): {"name": "n", "scopes": ["jobs:read"]},
    ("PUT", "/v1/budgets"): {"scope": "project", "window": "day", "limit": 10**12, "mode": "hard"},
}
NOUNS = {"jobs": "job", "webhooks": "whk", "keys": "key", "budgets": "bud", "deliveries": "dlv"}


def operations() -> list[tuple[str, str]]:
    """List every route that needs a key: its method and its path."""
    described = json.loads(describe())["paths"]
    return [
        (method.upper(), path)
        for path, methods in described.items()
        for method in methods
        if path not in OPEN and not path.startswith("/v1/operator/")
    ]


OPERATIONS = operations()
OF_ONE = [each for each in OPERATIONS if "{id}" in each[1]]


@pytest.fixture
def api(shared: Api) -> Api:
    """One API for all routes and keys: what they leave behind does not matter here."""
    return shared


async def ask(
    api: Api, operation: tuple[str, str], id_: str | None = None, **headers: str
) -> httpx.Response:
    """Ask a route for one thing (without an id: for what nobody has), with a body it takes."""
    method, where = operation
    noun = NOUNS[where.split("/")[2]] if "{id}" in where else "job"
    filled = where.replace("{id}", id_ or ids.text(noun, ids.new())).replace("{n}", "0")
    filled = filled.replace("{kind}", "png")
    headers |= IMPATIENT if where.startswith("/v1/images") else {}
    sent = {"json": BODY[operation]} if operation in BODY else {}
    async with httpx.AsyncClient(
        base_url=api.url, trust_env=False, timeout=30, verify=PLAIN
    ) as client:
        return await client.request(method, filled, headers=headers, **sent)  # type: ignore[arg-type] # any JSON


def test_every_route_has_its_scope_in_this_table() -> None:
    assert {each for each in OPERATIONS if each not in SCOPE} == set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
async def test_without_a_key_nobody_gets_in(api: Api, operation: tuple[str, str]) -> None:
    answer = await ask(api, operation)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
async def test_with_every_scope_but_its_own_a_route_is_closed(
    api: Api, operation: tuple[str, str]
) -> None:
    needed = SCOPE[operation]
    also = {"jobs:write"} if operation[1].startswith("/v1/models") else set()
    others = [scope for scope in SCOPES if scope not in {needed, "admin", *also}]
    answer = await ask(api, operation, **await api.key_with(*others))
    said = problem(answer, 403, "scope_missing")
    assert needed in str(said["detail"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
async def test_with_its_own_scope_alone_a_route_is_open(
    api: Api, operation: tuple[str, str]
) -> None:
    answer = await ask(api, operation, **await api.key_with(SCOPE[operation]))
    assert answer.status_code in {200, 201, 202, 204, 404, 504}, answer.text


@pytest.fixture(scope="module")
async def things(shared: Api) -> Mapping[str, str]:
    """Something of each noun in the first project, by the prefix of its id."""
    hook = await shared.client.post("/v1/webhooks", json={"url": "https://example.com/hook"})
    job = await shared.submit()
    await shared.life.succeed(job)
    told = await shared.client.get(path(job, "/deliveries"))
    key = await shared.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})
    made = {"job": path(job).rpartition("/")[2], "whk": hook.json()["id"], "key": key.json()["id"]}
    made["dlv"] = told.json()["data"][0]["id"]
    budget = await shared.client.put("/v1/budgets", json=BODY["PUT", "/v1/budgets"])
    if budget.status_code == 200:
        made["bud"] = budget.json()["id"]
    return made


@pytest.mark.parametrize("operation", OF_ONE, ids=" ".join)
async def test_what_is_anothers_looks_like_what_is_nobodys(
    api: Api, things: Mapping[str, str], operation: tuple[str, str]
) -> None:
    stranger = await api.another_project(f"stranger to {' '.join(operation)}")
    id_ = things[NOUNS[operation[1].split("/")[2]]]
    theirs, nobodys = [await ask(api, operation, each, **stranger) for each in (id_, None)]
    said = [problem(each, 404, "not_found") for each in (theirs, nobodys)]
    for each in said:
        del each["instance"], each["request_id"]
    assert said[0] == said[1]
    mine = await api.client.get(f"/v1/jobs/{things['job']}")
    assert mine.json()["status"] == "succeeded", "and nothing happened to it"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "Bearer dr_live_x",
        pytest.param(f"Bearer {api_keys.new_key()}", id="unknown"),
        pytest.param(f"Bearer {api_keys.new_key()[:-1]}", id="mistyped"),
        "Bearer é",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_a_key_that_is_none_is_refused(api: Api, authorization: str) -> None:
    sent = {b"authorization": authorization.encode()}
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as client:
        answer = await client.get("/v1/jobs", headers=sent)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="darkroom"'


async def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    for scheme in ("bearer", "BEARER"):
        headers = {"authorization": f"{scheme} {api.key}"}
        assert (await api.client.get("/v1/jobs", headers=headers)).status_code == 200


async def test_a_key_with_one_letter_mistyped_is_refused(api: Api) -> None:
    for at in (10, 30, len(api.key) - 1):
        mistyped = api.key[:at] + ("0" if api.key[at] != "0" else "1") + api.key[at + 1 :]
        answer = await api.client.get("/v1/jobs", headers=bearer(mistyped))
        problem(answer, 401, "unauthenticated")


async def test_a_key_of_which_only_the_secret_differs_is_refused(api: Api) -> None:
    other = api_keys.new_key()
    forged = api.key[:21] + other[21:-7]
    answer = await api.client.get("/v1/jobs", headers=bearer(forged + api_keys.crc(forged)))
    problem(answer, 401, "unauthenticated")


async def test_an_expired_key_is_refused(api: Api) -> None:
    headers = await api.key_with("jobs:read")
    await api.life.alter("UPDATE api_keys SET expires_at = now() WHERE name = 'narrow'")
    problem(await api.client.get("/v1/jobs", headers=headers), 401, "unauthenticated")


async def test_a_key_that_is_in_use_is_refused_within_seconds_of_its_revocation(api: Api) -> None:
    made = (await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})).json()
    headers = bearer(made["key"])
    assert (await api.client.get("/v1/jobs", headers=headers)).status_code == 200
    revoked = await api.client.delete(f"/v1/keys/{made['id']}")
    assert revoked.json()["revoked_at"]
    await asyncio.sleep(5)  # as long as a process believes what it has looked up
    problem(await api.client.get("/v1/jobs", headers=headers), 401, "unauthenticated")


async def test_a_key_is_shown_once(api: Api) -> None:
    made = await api.client.post("/v1/keys", json={"name": "web", "scopes": ["jobs:read"] * 2})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    shown = made.json()
    key = shown.pop("key")
    assert re.fullmatch(r"dr_live_[0-9a-z]{12}_[0-9a-z]{47}", key)
    assert set(shown) == {
        "id", "object", "name", "hint", "scopes", "created_at", "expires_at", "revoked_at",
    }  # fmt: skip
    assert (shown["scopes"], shown["hint"]) == (["jobs:read"], f"{key[:20]}_…")
    listed = await api.client.get("/v1/keys")
    assert listed.json()["data"][0] == shown
    assert key.rpartition("_")[2] not in listed.text
    async with api.life.database.transaction() as tx:
        stored = (await api_keys.list_keys(tx, api.life.caller.project_id))[0]
    assert key.rpartition("_")[2][:40].encode() not in stored.secret_hash


async def test_a_rotated_key_works_beside_its_successor_for_a_grace(api: Api) -> None:
    old = (await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})).json()
    rotated = await api.client.post(f"/v1/keys/{old['id']}/rotate", json={"grace": 60})
    assert rotated.status_code == 201
    fresh = rotated.json()
    assert (fresh["name"], fresh["scopes"]) == ("k", ["jobs:read"])
    assert fresh["key"] != old["key"]
    for key in (old["key"], fresh["key"]):
        assert (await api.client.get("/v1/jobs", headers=bearer(key))).status_code == 200
    listed = (await api.client.get("/v1/keys")).json()["data"]
    assert {each["id"]: bool(each["expires_at"]) for each in listed[:2]} == {
        fresh["id"]: False, old["id"]: True,
    }  # fmt: skip


async def test_a_key_rotated_without_a_body_has_a_grace_of_a_day(api: Api) -> None:
    old = (await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})).json()
    rotated = await api.client.post(f"/v1/keys/{old['id']}/rotate")
    assert rotated.status_code == 201
    assert (await api.client.get("/v1/jobs", headers=bearer(old["key"]))).status_code == 200


async def test_a_key_rotated_without_grace_ends_at_once(api: Api) -> None:
    old = (await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})).json()
    await api.client.post(f"/v1/keys/{old['id']}/rotate", json={"grace": 0})
    problem(await api.client.get("/v1/jobs", headers=bearer(old["key"])), 401, "unauthenticated")


@pytest.mark.parametrize("ended", ["expires_at", "revoked_at"])
async def test_a_rotation_gives_nobody_what_was_taken_back(api: Api, ended: str) -> None:
    old = (await api.client.post("/v1/keys", json={"name": ended, "scopes": ["usage:read"]})).json()
    await api.life.alter(
        f"UPDATE api_keys SET {ended} = now() WHERE name = :name",  # noqa: S608 - one of two columns
        name=ended,
    )
    rotated = await api.client.post(f"/v1/keys/{old['id']}/rotate", json={"grace": 60})
    assert "create a new one" in str(problem(rotated, 409, "conflict")["detail"])
    problem(await api.client.get("/v1/usage", headers=bearer(old["key"])), 401, "unauthenticated")
    assert await named(api, ended) == 1


async def test_of_two_rotations_of_a_key_without_grace_one_makes_a_key(api: Api) -> None:
    old = (await api.client.post("/v1/keys", json={"name": "2", "scopes": ["jobs:read"]})).json()
    where = f"/v1/keys/{old['id']}/rotate"
    both = await asyncio.gather(*(api.client.post(where, json={"grace": 0}) for _ in range(2)))
    assert sorted(each.status_code for each in both) == [201, 409]
    assert await named(api, "2") == 2


async def named(api: Api, name: str) -> int:
    """Count the project's keys of a name."""
    listed = (await api.client.get("/v1/keys")).json()["data"]
    return sum(each["name"] == name for each in listed)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"scopes": ["jobs:read"]}, "/name"),
        ({"name": "", "scopes": ["jobs:read"]}, "/name"),
        ({"name": "a\0", "scopes": ["jobs:read"]}, "/name"),
        ({"name": "k", "scopes": []}, "/scopes"),
        ({"name": "k", "scopes": ["everything"]}, "/scopes/0"),
        ({"name": "k", "scopes": ["jobs:read"], "key": "mine"}, "/key"),
    ],
)
async def test_a_key_that_cannot_be_made_is_refused(
    api: Api, wrong: dict[str, object], named: str
) -> None:
    answer = await api.client.post("/v1/keys", json=wrong)
    problem(answer, 422, "invalid_request")
    assert [each["pointer"] for each in answer.json()["errors"]] == [named]


async def test_nobody_sees_or_lists_what_is_anothers(api: Api, things: Mapping[str, str]) -> None:
    stranger = await api.another_project("a stranger")
    for where in ("/v1/jobs", "/v1/webhooks", "/v1/keys"):
        listed = (await api.client.get(where, headers=stranger)).json()["data"]
        assert not {each["id"] for each in listed} & set(things.values())
