"""`/v1/webhooks`: endpoints, the project's secret, and what became of deliveries."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from models import deliveries, endpoints, ids, projects
from models.deliveries import Try
from tests.integration.api.client import Api, Body, path, pointers, problem

URL = "https://example.com/hooks/darkroom"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,}={0,2}")
TERMINAL = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


async def register(api: Api, **fields: object) -> Body:
    """Register an endpoint over HTTP."""
    answer = await api.client.post("/v1/webhooks", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    made: Body = answer.json()
    return made


async def test_an_endpoint_is_registered_and_its_secret_shown_once(api: Api) -> None:
    made = await register(api, description="the shop")
    secret = str(made.pop("secret"))
    assert SECRET.fullmatch(secret)
    assert str(made["id"]).startswith("whk_")
    assert made | {"id": None, "created_at": None} == {
        "id": None, "object": "webhook", "url": URL, "description": "the shop",
        "events": TERMINAL, "enabled": True, "disabled_reason": None, "disabled_at": None,
        "created_at": None,
    }  # fmt: skip
    one = await api.client.get(f"/v1/webhooks/{made['id']}")
    many = await api.client.get("/v1/webhooks")
    assert one.json().items() >= made.items()
    assert [each["id"] for each in many.json()["data"]] == [made["id"]]
    for answer in (one, many):
        assert secret not in answer.text
        assert "whsec_" not in answer.text
    endpoint_id = ids.parse(ids.ENDPOINT, str(made["id"]))
    assert endpoint_id is not None
    async with api.life.database.transaction() as tx:
        assert await endpoints.secrets(tx, api.state.vault, endpoint_id) == (secret,)


async def test_endpoints_are_listed_newest_first(api: Api) -> None:
    made = [(await register(api))["id"] for _ in range(3)]
    listed = (await api.client.get("/v1/webhooks")).json()
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == list(reversed(made))


async def test_a_deleted_endpoint_is_gone_and_what_was_pending_is_aborted(api: Api) -> None:
    made = await register(api)
    job = await api.submit()
    await api.life.fail(job)
    gone = await api.client.delete(f"/v1/webhooks/{made['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        await api.client.get(f"/v1/webhooks/{made['id']}"),
        await api.client.delete(f"/v1/webhooks/{made['id']}"),
        await api.client.get(f"/v1/webhooks/{made['id']}/deliveries"),
    ):
        problem(answer, 404, "not_found")
    assert (await api.client.get("/v1/webhooks")).json()["data"] == []
    (kept,) = (await api.client.get(path(job, "/deliveries"))).json()["data"]
    assert (kept["state"], kept["endpoint_id"]) == ("aborted", made["id"])


@pytest.mark.parametrize(
    ("wrong", "code", "named"),
    [
        ({"url": "https://10.0.0.1/"}, "egress_refused", "/url"),
        ({"url": "https://169.254.169.254/"}, "egress_refused", "/url"),
        ({"url": "nowhere"}, "egress_refused", "/url"),
        ({"url": None}, "invalid_request", "/url"),
        ({"url": "https://example.com/\0"}, "invalid_request", "/url"),
        ({"events": ["job.done"]}, "invalid_request", "/events/0"),
        ({"events": "job.failed"}, "invalid_request", "/events"),
        ({"description": "x" * 513}, "invalid_request", "/description"),
        ({"secret": "whsec_mine"}, "invalid_request", "/secret"),
    ],
)
async def test_an_endpoint_that_cannot_be_is_refused(
    api: Api, wrong: Body, code: str, named: str
) -> None:
    answer = await api.client.post("/v1/webhooks", json={"url": URL} | wrong)
    problem(answer, 422, code)
    assert pointers(answer) == [named]
    assert await api.life.count("endpoints") == 0


async def test_the_projects_secret_is_shown_and_rotated(api: Api) -> None:
    first = await api.client.get("/v1/webhooks/project-secret")
    assert first.headers["cache-control"] == "no-store"
    assert SECRET.fullmatch(first.json()["secret"])
    rotated = await api.client.post("/v1/webhooks/project-secret/rotate")
    assert rotated.status_code == 200
    assert rotated.headers["cache-control"] == "no-store"
    fresh, old = rotated.json()["secret"], first.json()["secret"]
    assert fresh != old
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


async def tried(api: Api, result: str, status: int | None) -> None:
    """Let a worker try what is due, once; it comes to this."""
    lease = timedelta(seconds=30)
    async with api.life.database.transaction() as tx:
        for delivery, number in await deliveries.wake(tx, 10, lease):
            assert await deliveries.take(tx, api.state.vault, delivery, number, lease)
            met = Try("pending", result, status, timedelta(milliseconds=120), timedelta(seconds=5))
            assert await deliveries.record(tx, delivery, number, datetime.now(UTC), met)


async def test_the_log_shows_every_try_of_every_delivery(api: Api) -> None:
    endpoint = await register(api)
    job = await api.submit(webhook={"url": "https://a.example/hook"})
    await api.life.fail(job)
    await tried(api, "http_503", 503)
    of_job = (await api.client.get(path(job, "/deliveries"))).json()
    assert of_job["object"] == "list"
    assert {each["url"] for each in of_job["data"]} == {URL, "https://a.example/hook"}
    (shown,) = (await api.client.get(f"/v1/webhooks/{endpoint['id']}/deliveries")).json()["data"]
    assert shown in of_job["data"]
    assert {name: shown[name] for name in ("object", "type", "job_id", "endpoint_id", "state")} == {
        "object": "delivery", "type": "job.failed", "job_id": ids.text(ids.JOB, job),
        "endpoint_id": endpoint["id"], "state": "pending",
    }  # fmt: skip
    assert shown["id"].startswith("dlv_")
    assert shown["event_id"].startswith("evt_")
    assert shown["next_try_at"]
    (first,) = shown["tries"]
    assert first.pop("at")
    assert first == {"number": 1, "http_status": 503, "latency_ms": 120, "result": "http_503"}


async def test_a_job_without_webhooks_has_no_deliveries(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    assert (await api.client.get(path(job, "/deliveries"))).json()["data"] == []


async def test_what_a_webhook_carries_is_what_get_shows(api: Api) -> None:
    job = await api.submit(webhook={"url": URL})
    await api.life.succeed(job)
    async with api.life.database.transaction() as tx:
        stored = await tx.scalar(text("SELECT body FROM events"))
    assert isinstance(stored, bytes)
    sent = json.loads(stored)
    assert sent["type"] == "job.succeeded"
    sequence = sent["data"].pop("sequence")
    assert sent["data"] == await api.job(job)
    etag = (await api.client.get(path(job))).headers["etag"]
    assert etag.startswith(f'"{sequence}')
