"""`/v1/webhooks`: endpoints, their secrets, and the project's."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from sqlalchemy import text

from models import ids
from models.accounts import projects
from models.webhooks import endpoint_secrets, endpoints
from tests.integration.api.client import Api, Body, path, pointers, problem

URL = "https://example.com/hooks/darkroom"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,}={0,2}")
PUBLIC = re.compile(r"whpk_[A-Za-z0-9+/]{43}=")
TERMINAL = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


async def register(api: Api, **fields: object) -> Body:
    """Register an endpoint over HTTP."""
    answer = await api.client.post("/v1/webhooks", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    made: Body = answer.json()
    return made


async def change(api: Api, endpoint: Body, **fields: object) -> Body:
    """Change an endpoint over HTTP."""
    answer = await api.client.patch(f"/v1/webhooks/{endpoint['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    changed: Body = answer.json()
    return changed


async def secrets(api: Api, endpoint: Body) -> tuple[str, ...]:
    """Read the secrets that sign what goes to an endpoint."""
    parsed = ids.parse(ids.ENDPOINT, str(endpoint["id"]))
    async with api.life.database.transaction() as tx:
        found = await endpoints.find(tx, api.life.caller.project_id, parsed)
    return endpoint_secrets.secrets(api.state.vault, found, datetime.now(UTC))


async def test_an_endpoint_is_registered_and_its_secret_shown_once(api: Api) -> None:
    answer = await api.client.post("/v1/webhooks", json={"url": URL, "description": "the shop"})
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    secret = str(made.pop("secret"))
    assert SECRET.fullmatch(secret)
    assert str(made["id"]).startswith("whk_")
    (public,) = made["public_keys"]
    assert PUBLIC.fullmatch(public)
    assert made | {"id": None, "created_at": None, "public_keys": None} == {
        "id": None, "object": "webhook", "url": URL, "description": "the shop",
        "events": TERMINAL, "enabled": True, "disabled_reason": None, "disabled_at": None,
        "failing_since": None, "rate_limit": None, "signed_by": "own", "public_keys": None,
        "rotated_at": None, "old_secret_until": None, "created_at": None,
    }  # fmt: skip
    one = await api.client.get(f"/v1/webhooks/{made['id']}")
    many = await api.client.get("/v1/webhooks")
    assert one.json() == made
    assert many.json()["data"] == [made]
    for shown in (one, many):
        assert "whsec_" not in shown.text
        assert "whsk_" not in shown.text
    assert secret in await secrets(api, made)


async def test_the_projects_secret_may_sign_for_an_endpoint_and_is_not_rotated_there(
    api: Api,
) -> None:
    made = await register(api, secret="project")
    shared = (await api.client.get("/v1/webhooks/project-secret")).json()["secret"]
    assert (made["signed_by"], made["secret"]) == ("project", shared)
    assert len(cast("list[str]", made["public_keys"])) == 1, "its own pair signs beside it"
    refused = await api.client.post(f"/v1/webhooks/{made['id']}/rotate")
    assert "project-secret/rotate" in str(problem(refused, 409, "conflict")["detail"])
    assert pointers(await api.client.post("/v1/webhooks", json={"url": URL, "secret": "mine"})) == [
        "/secret"
    ]


async def test_an_endpoint_may_begin_disabled_and_with_a_rate_of_its_own(api: Api) -> None:
    made = await register(api, enabled=False, rate_limit=3)
    assert (made["enabled"], made["rate_limit"]) == (False, 3)
    await api.life.fail(await api.submit())
    (held,) = (await api.client.get(f"/v1/webhooks/{made['id']}/deliveries")).json()["data"]
    assert held["state"] == "held"


async def test_an_endpoint_may_hear_of_every_event_but_a_ping(api: Api) -> None:
    every = [
        "job.running", *TERMINAL, "job.charge_resolved", "budget.threshold", "webhook.disabled",
        "wallet.low", "wallet.empty", "wallet.restored",
    ]  # fmt: skip
    assert (await register(api, events=every))["events"] == every
    answer = await api.client.post("/v1/webhooks", json={"url": URL, "events": ["ping"]})
    problem(answer, 422, "invalid_request")


async def test_endpoints_are_listed_newest_first(api: Api) -> None:
    made = [(await register(api))["id"] for _ in range(3)]
    listed = (await api.client.get("/v1/webhooks")).json()
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == list(reversed(made))


async def test_a_deleted_endpoint_is_gone_and_what_was_pending_is_aborted(api: Api) -> None:
    made = await register(api)
    where = f"/v1/webhooks/{made['id']}"
    job = await api.submit()
    await api.life.fail(job)
    gone = await api.client.delete(where)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        await api.client.get(where),
        await api.client.patch(where, json={"enabled": True}),
        await api.client.delete(where),
        await api.client.post(f"{where}/enable"),
        await api.client.post(f"{where}/rotate"),
        await api.client.post(f"{where}/test"),
        await api.client.post(f"{where}/replay"),
        await api.client.get(f"{where}/deliveries"),
    ):
        problem(answer, 404, "not_found")
    assert (await api.client.get("/v1/webhooks")).json()["data"] == []
    (kept,) = (await api.client.get(path(job, "/deliveries"))).json()["data"]
    assert (kept["state"], kept["endpoint_id"]) == ("aborted", made["id"])


WRONG: list[tuple[Body, str, str]] = [
    ({"url": "https://10.0.0.1/"}, "egress_refused", "/url"),
    ({"url": "https://169.254.169.254/"}, "egress_refused", "/url"),
    ({"url": "nowhere"}, "egress_refused", "/url"),
    ({"url": "https://user:password@example.com/"}, "egress_refused", "/url"),
    ({"url": None}, "invalid_request", "/url"),
    ({"url": "https://example.com/\0"}, "invalid_request", "/url"),
    ({"events": ["job.done"]}, "invalid_request", "/events/0"),
    ({"events": "job.failed"}, "invalid_request", "/events"),
    ({"description": "x" * 513}, "invalid_request", "/description"),
    ({"rate_limit": 0}, "invalid_request", "/rate_limit"),
    ({"rate_limit": 1001}, "invalid_request", "/rate_limit"),
    ({"rate_limit": "5"}, "invalid_request", "/rate_limit"),
    ({"enabled": "yes"}, "invalid_request", "/enabled"),
    ({"enabled": None}, "invalid_request", "/enabled"),
    ({"secret": "whsec_mine"}, "invalid_request", "/secret"),
]


@pytest.mark.parametrize(("wrong", "code", "named"), WRONG)
async def test_an_endpoint_that_cannot_be_is_refused(
    api: Api, wrong: Body, code: str, named: str
) -> None:
    answer = await api.client.post("/v1/webhooks", json={"url": URL} | wrong)
    problem(answer, 422, code)
    assert pointers(answer) == [named]
    assert await api.life.count("endpoints") == 0


@pytest.mark.parametrize(("wrong", "code", "named"), [*WRONG, ({}, "invalid_request", "")])
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    api: Api, wrong: Body, code: str, named: str
) -> None:
    made = await register(api)
    del made["secret"]
    where = f"/v1/webhooks/{made['id']}"
    sent = {"description": "changed"} | wrong if wrong else {}
    answer = await api.client.patch(where, json=sent)
    problem(answer, 422, code)
    assert pointers(answer) == [named]
    assert (await api.client.get(where)).json() == made


async def test_a_change_changes_what_it_names_and_nothing_else(api: Api) -> None:
    made = await register(api, description="the shop", events=["job.failed"], rate_limit=7)
    del made["secret"]
    elsewhere = await change(api, made, url="https://example.com/elsewhere")
    assert elsewhere == made | {"url": "https://example.com/elsewhere"}
    unlimited = await change(api, made, rate_limit=None, description="")
    assert unlimited == elsewhere | {"rate_limit": None, "description": ""}
    assert (await change(api, made, events=[]))["events"] == TERMINAL
    assert (await change(api, made, events=["job.running"]))["events"] == ["job.running"]


async def test_what_comes_while_an_endpoint_is_disabled_is_held(api: Api) -> None:
    made = await register(api)
    await api.life.fail(await api.submit())
    off = await change(api, made, enabled=False)
    assert (off["enabled"], bool(off["disabled_at"]), bool(off["disabled_reason"])) == (
        False, True, True,
    )  # fmt: skip
    await api.life.fail(await api.submit())
    log = f"/v1/webhooks/{made['id']}/deliveries"
    both = (await api.client.get(log)).json()["data"]
    assert [each["state"] for each in both] == ["held", "held"]
    assert (await change(api, made, enabled=False))["disabled_at"] == off["disabled_at"]


@pytest.mark.parametrize("by", ["patch", "enable"])
async def test_an_enabled_endpoint_has_no_reason_to_be_disabled(api: Api, by: str) -> None:
    made = await register(api, enabled=False)
    await api.life.alter("UPDATE endpoints SET failing_since = now() - interval '6 days'")
    where = f"/v1/webhooks/{made['id']}"
    if by == "enable":
        on = (await api.client.post(f"{where}/enable")).json()
    else:
        on = await change(api, made, enabled=True)
    assert on == (await api.client.get(where)).json()
    names = ("enabled", "disabled_reason", "disabled_at", "failing_since")
    assert [on[name] for name in names] == [True, None, None, None]
    await api.life.fail(await api.submit())
    (fresh,) = (await api.client.get(f"{where}/deliveries")).json()["data"]
    assert fresh["state"] == "pending"


async def test_a_rotated_endpoint_signs_with_both_secrets_for_a_day(api: Api) -> None:
    made = await register(api)
    answer = await api.client.post(f"/v1/webhooks/{made['id']}/rotate")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    rotated = answer.json()
    fresh, old = str(rotated.pop("secret")), str(made["secret"])
    assert SECRET.fullmatch(fresh)
    assert fresh != old
    assert {fresh, old} <= set(await secrets(api, made)), "both sign"
    at = datetime.fromisoformat(rotated["rotated_at"])
    assert datetime.fromisoformat(rotated["old_secret_until"]) == at + timedelta(days=1)
    assert len(set(rotated["public_keys"])) == 2
    assert set(made["public_keys"]) < set(rotated["public_keys"])  # type: ignore[call-overload] # a list
    assert (await api.client.get(f"/v1/webhooks/{made['id']}")).json() == rotated

    await api.life.alter("UPDATE endpoints SET rotated_at = now() - interval '1 day'")
    later = (await api.client.get(f"/v1/webhooks/{made['id']}")).json()
    assert later["old_secret_until"] is None
    assert later["public_keys"] == rotated["public_keys"][:1], "the newest comes first, and stays"
    assert old not in await secrets(api, made)


async def test_the_projects_secret_is_shown_and_rotated(api: Api) -> None:
    first = await api.client.get("/v1/webhooks/project-secret")
    assert first.headers["cache-control"] == "no-store"
    assert SECRET.fullmatch(first.json()["secret"])
    rotated = await api.client.post("/v1/webhooks/project-secret/rotate")
    assert rotated.status_code == 200
    assert rotated.headers["cache-control"] == "no-store"
    fresh, old = rotated.json()["secret"], first.json()["secret"]
    assert fresh != old
    left = datetime.fromisoformat(rotated.json()["old_secret_until"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    again = await api.client.get("/v1/webhooks/project-secret")
    assert again.json()["secret"] == fresh
    project = api.life.caller.project_id
    async with api.life.database.transaction() as tx:
        both = await projects.webhook_secrets(tx, api.state.vault, project)
    assert both == (fresh, old), "both sign for a day"


async def test_each_project_has_its_own_secret(api: Api) -> None:
    mine = await api.client.get("/v1/webhooks/project-secret")
    other = await api.another_project()
    theirs = await api.client.get("/v1/webhooks/project-secret", headers=other)
    assert mine.json() != theirs.json()


async def test_what_a_webhook_carries_is_what_get_shows(api: Api) -> None:
    job = await api.submit(webhook={"url": URL})
    await api.life.succeed(job)
    async with api.life.database.transaction() as tx:
        stored = await tx.scalar(text("SELECT body FROM events"))
    assert isinstance(stored, bytes)
    sent = json.loads(stored)
    assert sent["type"] == "job.succeeded"
    sequence = sent["data"]["sequence"]
    assert sent["data"] == await api.job(job), "with one sequence, so that either can be kept"
    etag = (await api.client.get(path(job))).headers["etag"]
    assert etag.startswith(f'"{sequence}')


async def test_a_project_has_no_more_endpoints_than_it_may_until_it_deletes_one(api: Api) -> None:
    made = await register(api)
    await api.life.alter(
        "INSERT INTO endpoints (id, project_id, url, events, secret)"
        " SELECT gen_random_uuid(), project_id, url, events, secret FROM endpoints,"
        " generate_series(2, 16)"
    )
    refused = problem(
        await api.client.post("/v1/webhooks", json={"url": URL}), 409, "limit_reached"
    )
    assert "16 webhook endpoints" in str(refused["detail"])
    assert (await api.client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    await register(api)
