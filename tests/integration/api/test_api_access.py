"""Who may do what: keys, scopes, and the walls between projects, on every route there is."""

import asyncio
import re

import httpx
import pytest

from models.accounts import api_keys
from models.states import ProjectScope
from tests.conftest import PLAIN
from tests.integration.api.client import Api, bearer, problem
from tests.integration.api.contract import operations

# What every route documents, and so demands (`test_api_scopes`): written once more by hand, so that nobody
# opens one by a slip.
SCOPE: dict[tuple[str, str], ProjectScope] = {
    ("GET", "/v1/models"): "jobs:read",
    ("GET", "/v1/models/{model}"): "jobs:read",
    ("GET", "/v1/jobs/{id}/images/{n}/{kind}"): "jobs:read",
    ("POST", "/v1/images/generations"): "jobs:write",
    ("POST", "/v1/images/edits"): "jobs:write",
    ("POST", "/v1/files"): "jobs:write",
    ("GET", "/v1/files"): "jobs:read",
    ("GET", "/v1/files/{id}"): "jobs:read",
    ("GET", "/v1/files/{id}/content"): "jobs:read",
    ("DELETE", "/v1/files/{id}"): "jobs:write",
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
    ("GET", "/v1/jobs/actions"): "jobs:read",
    ("POST", "/v1/jobs/actions"): "jobs:write",
    ("GET", "/v1/jobs/actions/{id}"): "jobs:read",
    ("POST", "/v1/jobs/actions/{id}/cancel"): "jobs:write",
    ("GET", "/v1/erasures"): "jobs:read",
    ("POST", "/v1/erasures"): "admin",
    ("GET", "/v1/erasures/{id}"): "jobs:read",
    ("GET", "/v1/batches"): "jobs:read",
    ("POST", "/v1/batches"): "jobs:write",
    ("GET", "/v1/batches/{id}"): "jobs:read",
    ("PATCH", "/v1/batches/{id}"): "jobs:write",
    ("POST", "/v1/batches/{id}/cancel"): "jobs:write",
    ("GET", "/v1/batches/{id}/events"): "jobs:read",
    ("GET", "/v1/batches/{id}/items"): "jobs:read",
    ("GET", "/v1/batches/{id}/items/{custom_id}"): "jobs:read",
    ("POST", "/v1/batches/{id}/pause"): "jobs:write",
    ("GET", "/v1/batches/{id}/results"): "jobs:read",
    ("POST", "/v1/batches/{id}/resume"): "jobs:write",
    ("POST", "/v1/batches/{id}/retry"): "jobs:write",
    ("GET", "/v1/events"): "jobs:read",
    ("GET", "/v1/now"): "jobs:read",
    ("POST", "/v1/quotes"): "jobs:read",
    ("POST", "/v1/webhooks"): "webhooks",
    ("GET", "/v1/webhooks"): "webhooks",
    ("GET", "/v1/webhooks/project-secret"): "webhooks",
    ("POST", "/v1/webhooks/project-secret/rotate"): "webhooks",
    ("GET", "/v1/webhooks/{id}"): "webhooks",
    ("GET", "/v1/webhooks/{id}/health"): "webhooks",
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


@pytest.fixture
def api(shared: Api) -> Api:
    """One API for all routes and keys: what they leave behind does not matter here."""
    return shared


def test_every_route_has_the_scope_of_this_table() -> None:
    assert {(each.method, each.path): each.scope for each in operations()} == SCOPE


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


async def test_a_key_tells_when_it_was_last_used(api: Api) -> None:
    made = (
        await api.client.post("/v1/keys", json={"name": "idle", "scopes": ["jobs:read"]})
    ).json()
    assert made["last_used_at"] is None
    await api.client.get("/v1/jobs", headers=bearer(made["key"]))
    await api.state.callers.uses.write()  # as it does by itself, half a minute later at the latest

    async def told() -> str | None:
        keys = (await api.client.get("/v1/keys")).json()["data"]
        found: str | None = next(each for each in keys if each["id"] == made["id"])["last_used_at"]
        return found

    first = await told()
    assert first is not None
    await api.client.get("/v1/models", headers=bearer(made["key"]))
    await api.state.callers.uses.write()
    assert first < str(await told())


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
        "last_used_at",
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
