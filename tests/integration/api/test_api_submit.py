"""`POST /v1/jobs`: what is accepted, and what its answer says."""

import asyncio
import json
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO

import httpx
import pytest
from PIL import Image

from models.__main__ import main
from models.settings import Settings
from tests.conftest import SECRET
from tests.integration.api.client import (
    MODEL,
    PRICE,
    Api,
    body,
    cost,
    input_,
    job_id,
    pointers,
    problem,
)  # fmt: skip
from tests.integration.api.conftest import Serve

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def picture(color: str = "red") -> tuple[bytes, str]:
    """Draw a small PNG; returns its bytes and its data: URL."""
    drawn = BytesIO()
    Image.new("RGB", (32, 32), color).save(drawn, "PNG")
    data = drawn.getvalue()
    return data, f"data:image/png;base64,{b64encode(data).decode()}"


async def test_a_job_is_accepted_and_its_answer_says_where_it_is(api: Api) -> None:
    answer = await api.client.post("/v1/jobs", json=body())
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["etag"]
    assert "idempotent-replayed" not in answer.headers
    found = await api.client.get(answer.headers["location"])
    assert found.json() == answer.json()


async def test_an_accepted_job_looks_exactly_as_documented(api: Api) -> None:
    asked = body(
        metadata={"order": "A-17"}, tags=["catalog", "catalog", "new"], customer="c_9",
        priority="bulk", queue_ttl=3600, deadline="2031-12-01T13:00:00+01:00",
    )  # fmt: skip
    before = datetime.now(UTC)
    shown = (await api.client.post("/v1/jobs", json=asked)).json()
    identity, created = shown.pop("id"), shown.pop("created_at")
    expires = shown.pop("queue_expires_at")
    assert re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{26}", identity)
    assert TIME.fullmatch(created)
    assert TIME.fullmatch(expires)
    accepted = datetime.fromisoformat(created)
    assert before - timedelta(seconds=5) < accepted < before + timedelta(seconds=30)
    assert datetime.fromisoformat(expires) - accepted == timedelta(hours=1)
    assert shown == {
        "object": "job",
        "status": "queued",
        "input": {"model": MODEL, "prompt": "A lighthouse in the snow."},
        "metadata": {"order": "A-17"},
        "tags": ["catalog", "new"],
        "customer": "c_9",
        "priority": "bulk",
        "started_at": None,
        "finished_at": None,
        "erased_at": None,
        "deadline": "2031-12-01T12:00:00.000Z",
        "waiting_reason": "queue",
        "attempts": [],
        "cost": cost(estimated=PRICE, held=PRICE),
        "sequence": 1,
        "has_image": False,
        "charged": "no",
        "expired_by": None,
        "result": None,
        "error": None,
        "cancel": None,
        "retried_from": None,
        "reused_from": None,
        "batch_id": None,
        "custom_id": None,
    }  # fmt: skip


async def test_a_finished_job_looks_exactly_as_documented(api: Api) -> None:
    job = await api.submit()
    await api.life.succeed(job)
    shown = await api.job(job)
    for moment in ("created_at", "started_at", "finished_at", "queue_expires_at"):
        assert TIME.fullmatch(str(shown[moment])), moment
    assert shown["status"] == "succeeded"
    assert shown["waiting_reason"] is None
    attempts, result = shown["attempts"], shown["result"]
    assert isinstance(attempts, list)
    assert isinstance(result, dict)
    assert [set(each) for each in attempts] == [{
        "number", "outcome", "charge", "http_status", "inference_id", "client_request_id",
        "sent_at", "finished_at", "error",
    }]  # fmt: skip
    assert attempts[0]["client_request_id"] == f"{shown['id']}:1"
    assert attempts[0]["charge"] == {"state": "settled", "credits": PRICE, "adjusted": 0}
    assert shown["cost"] == cost(estimated=PRICE, charged=PRICE)
    assert (shown["has_image"], shown["charged"]) == (True, "yes")
    assert set(result["data"][0]) == {
        "url", "size", "content_type", "bytes", "width", "height", "sha256", "expires_at",
        "url_expires_at", "thumbnail_url", "provider_url",
    }  # fmt: skip
    assert result["meta"] == {"usage": {"credits_used": PRICE}}


async def test_a_request_keeps_the_id_its_caller_gave_it(api: Api) -> None:
    answer = await api.client.get("/v1/jobs", headers={"x-request-id": "web-7:a.b_c"})
    assert answer.headers["x-request-id"] == "web-7:a.b_c"


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "a\tb"])
async def test_a_request_gets_an_id_where_it_brings_none_that_is_good(api: Api, given: str) -> None:
    answer = await api.client.get("/v1/jobs", headers={"x-request-id": given})
    assert re.fullmatch(r"req_[0-9a-z]{26}", answer.headers["x-request-id"])


async def test_references_in_the_body_are_kept_and_shown_as_hash_and_length(api: Api) -> None:
    data, url = picture()
    asked = body(input=input_(image_urls=[url, "https://example.com/a.png"]))
    shown = (await api.client.post("/v1/jobs", json=asked)).json()
    digest = sha256(data).hexdigest()
    assert shown["input"]["image_urls"] == [
        f"data:image/png;sha256={digest};length={len(data)}",
        "https://example.com/a.png",
    ]
    kept = api.life.blobs()
    assert [(each.name, each.read_bytes()) for each in kept] == [(digest, data)]


async def test_the_largest_idempotency_key_is_taken_and_shown_nowhere(api: Api) -> None:
    key = "!" + "k" * 253 + "~"
    first = await api.client.post("/v1/jobs", json=body(), headers={"idempotency-key": key})
    assert first.status_code == 202
    assert key not in first.text


async def test_the_same_request_twice_is_one_job_as_it_is_now(api: Api) -> None:
    headers = {"idempotency-key": "order-17"}
    first = await api.client.post("/v1/jobs", json=body(tags=["a"]), headers=headers)
    job = await api.life.start(job_id(first.json()["id"]))
    other_order = json.dumps({"tags": ["a"], "input": input_()})
    again = await api.client.post(
        "/v1/jobs", content=other_order,
        headers=headers | {"content-type": "application/json; charset=utf-8"},
    )  # fmt: skip
    assert again.status_code == 202
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["status"] == "running"
    await api.life.finish(job)
    last = await api.client.post("/v1/jobs", json=body(tags=["a"]), headers=headers)
    assert (last.status_code, last.json()["status"]) == (202, "succeeded")
    assert await api.life.count("jobs") == 1
    assert await api.life.count("ledger WHERE kind = 'hold'") == 1


async def test_the_same_key_with_another_body_is_refused_and_leaves_nothing(api: Api) -> None:
    headers = {"idempotency-key": "order-17"}
    first = await api.client.post("/v1/jobs", json=body(), headers=headers)
    other = body(input=input_(image_urls=[picture()[1]]))
    refused = await api.client.post("/v1/jobs", json=other, headers=headers)
    said = problem(refused, 422, "idempotency_key_reuse")
    assert first.json()["id"] in str(said["detail"])
    assert await api.life.count("jobs") == 1
    assert api.life.blobs() == []


async def test_a_refused_request_does_not_consume_its_key(api: Api) -> None:
    headers = {"idempotency-key": "order-17"}
    wrong = body(input=input_(image_size="8K"))
    problem(await api.client.post("/v1/jobs", json=wrong, headers=headers), 422, "invalid_request")
    right = await api.client.post("/v1/jobs", json=body(), headers=headers)
    assert right.status_code == 202
    assert "idempotent-replayed" not in right.headers


async def test_a_key_belongs_to_its_project_and_its_route(api: Api) -> None:
    headers = {"idempotency-key": "order-17"}
    mine = await api.client.post("/v1/jobs", json=body(), headers=headers)
    other = await api.another_project()
    theirs = await api.client.post("/v1/jobs", json=body(tags=["t"]), headers=headers | other)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine.json()["id"]
    canceled = await api.client.post(f"{mine.headers['location']}/cancel")
    assert canceled.status_code == 200
    again = await api.client.post(f"{mine.headers['location']}/retry", headers=headers)
    assert (again.status_code, "idempotent-replayed" in again.headers) == (202, False)


@pytest.mark.parametrize("key", ["", "two words", "é", "k" * 256, "a\tb"])
async def test_a_key_of_another_form_is_refused(api: Api, key: str) -> None:
    headers = {b"idempotency-key": key.encode()}
    answer = await api.client.post("/v1/jobs", json=body(), headers=headers)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["header:Idempotency-Key"]
    assert await api.life.count("jobs") == 0


async def test_a_hundred_clients_with_one_key_make_one_job(api: Api) -> None:
    headers = {"idempotency-key": "order-17"}

    async def submit() -> httpx.Response:
        """Submit, and again where the pile took longer than a turn is waited for, as the 503 asks."""
        answer = await api.client.post("/v1/jobs", json=body(), headers=headers)
        return await submit() if answer.status_code == 503 else answer

    answers = await asyncio.gather(*(submit() for _ in range(100)))
    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert sum("idempotent-replayed" not in each.headers for each in answers) == 1
    assert await api.life.count("jobs") == 1
    assert await api.life.count("ledger") == 1


async def test_a_project_can_require_keys_of_all_that_creates_jobs(
    settings: Settings, serving: Serve, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DARKROOM_SECRET", SECRET)
    async with serving(settings) as api:
        assert await asyncio.to_thread(main, ["require-key", "shop", "yes"]) == 0
        refused = await api.client.post("/v1/jobs", json=body())
        problem(refused, 422, "invalid_request")
        assert pointers(refused) == ["header:Idempotency-Key"]
        keyed = await api.client.post("/v1/jobs", json=body(), headers={"idempotency-key": "1"})
        assert keyed.status_code == 202
        await api.client.post(f"{keyed.headers['location']}/cancel")
        again = await api.client.post(f"{keyed.headers['location']}/retry")
        problem(again, 422, "invalid_request")
        assert pointers(again) == ["header:Idempotency-Key"]
        assert await api.life.count("jobs") == 1
    assert await asyncio.to_thread(main, ["require-key", "shop", "no"]) == 0
    async with serving(settings) as api:
        assert (await api.client.post("/v1/jobs", json=body())).status_code == 202
