"""A key that has ended, which this process still believes: it makes nothing that outlives it.

So does a key of a project that was deleted, and no job of it is accepted: it would be forgotten.
"""

import pytest

from models import ids
from models.accounts import api_keys
from models.operating import tenants
from tests.fixtures.drawing import draw
from tests.integration.api.client import MODEL, Api, Body, bearer, body, input_, path, problem

ENDPOINT: Body = {"url": "https://example.com/hooks"}
BUDGET: Body = {"scope": "project", "window": "day", "limit": 1, "mode": "hard"}
CREDENTIALS: list[tuple[str, str, Body]] = [
    ("POST", "/v1/keys", {"name": "zombie", "scopes": ["admin"]}),
    ("POST", "/v1/keys/{key}/rotate", {}),
    ("POST", "/v1/webhooks", ENDPOINT),
    ("POST", "/v1/webhooks/project-secret/rotate", {}),
    ("DELETE", "/v1/webhooks/{endpoint}", {}),
    ("PUT", "/v1/budgets", BUDGET),
]
WORK: list[tuple[str, str, Body]] = [
    ("POST", "/v1/jobs", body()),
    ("POST", "/v1/jobs", body(reuse="exact")),
    ("POST", "/v1/jobs", body(n=2)),
    ("POST", "/v1/jobs/{job}/retry", {}),
    ("POST", "/v1/batches", {"items": [{"custom_id": "a", "input": input_()}]}),
    ("POST", "/v1/images/generations", {"model": MODEL, "prompt": "A lighthouse."}),
    ("POST", "/v1/jobs/actions", {"action": "cancel", "filter": {"tag": "a"}}),
    ("POST", "/v1/files", {"url": "https://example.com/a.png"}),
]
_MADE = """
    SELECT (SELECT count(*) FROM api_keys), (SELECT count(*) FROM endpoints),
           (SELECT count(*) FROM budgets), (SELECT count(*) FROM jobs), (SELECT count(*) FROM batches),
           (SELECT count(*) FROM files), (SELECT count(*) FROM actions), (SELECT count(*) FROM fetches)
"""


async def made(api: Api) -> list[object]:
    (row,) = await api.life.database.direct.read(_MADE.encode(), {})
    return list(row.values())


async def believed(api: Api) -> tuple[str, dict[str, str]]:
    """Make a key, and have the process look it up; returns its id, and the header that it goes in."""
    key = api_keys.new_key()
    async with api.life.database.transaction() as tx:
        row = await api_keys.create_key(tx, api.life.caller.project_id, "leaked", ("admin",), key)
    assert (await api.client.get("/v1/keys", headers=bearer(key))).status_code == 200
    return ids.text(ids.KEY, row.id), bearer(key)


async def revoke(api: Api, key: str) -> None:
    parsed = ids.parse(ids.KEY, key)
    assert parsed is not None
    async with api.life.database.transaction() as tx:
        await api_keys.revoke_key(tx, parsed)


async def delete_project(api: Api) -> None:
    async with api.life.database.transaction() as tx:
        await tenants.remove(tx, api.state.vault, api.life.caller.project_id)


@pytest.mark.parametrize(("method", "where", "what"), CREDENTIALS)
async def test_a_revoked_key_makes_nothing_that_outlives_it(
    api: Api, method: str, where: str, what: Body
) -> None:
    key, headers = await believed(api)
    await revoke(api, key)
    before = await made(api)
    place = where.format(key=key, endpoint=ids.text(ids.ENDPOINT, ids.new()))
    refused = await api.client.request(method, place, json=what or None, headers=headers)
    problem(refused, 401, "unauthenticated")
    assert await made(api) == before
    assert (await api.client.get("/v1/keys", headers=headers)).status_code == 200, "not believed"


@pytest.mark.parametrize(("method", "where", "what"), [*CREDENTIALS, *WORK])
async def test_nothing_is_made_in_a_project_that_was_deleted(
    api: Api, method: str, where: str, what: Body
) -> None:
    key, headers = await believed(api)
    job = await api.submit()
    await api.client.post(f"{path(job)}/cancel")
    await delete_project(api)
    before = await made(api)
    named = {"job": ids.text(ids.JOB, job), "endpoint": ids.text(ids.ENDPOINT, ids.new())}
    place = where.format(key=key, **named)
    problem(
        await api.client.request(method, place, json=what or None, headers=headers),
        401,
        "unauthenticated",
    )
    assert await made(api) == before


OPERATORS: list[tuple[str, str, Body]] = [
    ("POST", "/v1/operator/projects", {"name": "zombie"}),
    ("POST", "/v1/operator/projects/{project}/keys", {"name": "zombie", "scopes": ["admin"]}),
    ("DELETE", "/v1/operator/projects/{project}", {}),
    ("POST", "/v1/operator/pause", {}),
]


@pytest.mark.parametrize(("method", "where", "what"), OPERATORS)
async def test_an_operators_key_that_has_ended_does_nothing(
    api: Api, method: str, where: str, what: Body
) -> None:
    headers = await api.operator()
    listed = await api.client.get("/v1/operator/keys", headers=headers)
    (own,) = [each["id"] for each in listed.json()["data"] if each["project"] is None]
    await revoke(api, own)
    before = await made(api)
    place = where.format(project=ids.text(ids.PROJECT, api.life.caller.project_id))
    problem(
        await api.client.request(method, place, json=what or None, headers=headers),
        401,
        "unauthenticated",
    )
    assert await made(api) == before
    assert (await api.client.get("/v1/operator/keys", headers=headers)).status_code == 200


async def test_no_picture_is_kept_for_a_project_that_was_deleted(api: Api) -> None:
    _, headers = await believed(api)
    await delete_project(api)
    before = await made(api)
    refused = await api.client.post(
        "/v1/files", files={"file": ("a.png", draw("png", (64, 48)))}, headers=headers
    )
    problem(refused, 404, "not_found")
    assert await made(api) == before
