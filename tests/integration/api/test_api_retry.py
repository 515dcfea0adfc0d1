"""A retry changes what its body names, judged as a submission is; what takes no body refuses one."""

import base64
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from models.money import prices
from models.money.prices import PriceList
from tests.conftest import PLAIN
from tests.integration.api.client import (
    MODEL,
    PRICE,
    Api,
    Body,
    body,
    input_,
    path,
    pointers,
    problem,
)
from tests.integration.api.contract import OPEN, PAGES, one_of_each, operations

JSON = {"content-type": "application/json"}


async def failed(api: Api, **fields: object) -> UUID:
    """Submit a job that the provider refuses."""
    job = await api.submit(**fields)
    await api.life.fail(job)
    return job


async def retried(api: Api, job: UUID, changes: Body, **headers: str) -> Body:
    """Retry a job with changes; returns the new one."""
    answer = await api.client.post(path(job, "/retry"), json=changes, headers=headers)
    assert answer.status_code == 202, answer.text
    made: Body = answer.json()
    return made


def picture(shade: int) -> str:
    """Make a reference that a body can carry."""
    written = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, 0, 0)).save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


async def test_an_input_is_merged_and_the_rest_stays(api: Api) -> None:
    asked = {"tags": ["a"], "metadata": {"k": "v"}, "customer": "c1", "priority": "bulk"}
    job = await failed(api, input=input_(seed=7, image_size="4K"), max_attempts=2, **asked)
    made = await retried(api, job, {"input": {"prompt": "NEW", "seed": None}})
    assert made["input"] == {"model": MODEL, "prompt": "NEW", "image_size": "4K"}
    assert {name: made[name] for name in asked} == asked
    assert await api.life.count("jobs WHERE max_attempts = 2 AND large") == 2


async def test_each_option_of_a_submission_can_be_changed(api: Api) -> None:
    job = await failed(api, metadata={"a": "1"}, tags=["x"], webhook={"url": "https://a.example/"})
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="milliseconds")
    shown = {
        "metadata": {"b": "2"}, "tags": ["y"], "customer": "c2", "priority": "interactive",
        "deadline": later.replace("+00:00", "Z"),
    }  # fmt: skip
    kept: Body = {
        "webhook": {"url": "https://b.example/", "events": ["job.failed"]}, "queue_ttl": 60,
        "max_attempts": 3, "max_cost": 5 * PRICE, "on_unknown_charge": "wait", "reuse": "exact",
        "concurrency_key": "k",
    }  # fmt: skip
    made = await retried(api, job, shown | kept)
    assert {name: made[name] for name in shown} == shown
    assert made["reused_from"] is None
    columns = (
        "webhook_url = 'https://b.example/' AND webhook_events = ARRAY['job.failed'] AND "
        f"max_attempts = 3 AND max_cost = {5 * PRICE} AND on_unknown_charge = 'wait' AND "
        "reuse = 'exact' AND concurrency_key = 'k' AND retried_from IS NOT NULL AND "
        "queue_expires_at - created_at = interval '60 seconds'"
    )
    assert await api.life.count(f"jobs WHERE {columns}") == 1


async def test_null_takes_an_option_away(api: Api) -> None:
    job = await failed(
        api, customer="c1", max_cost=9 * PRICE, webhook={"url": "https://a.example/"}
    )
    made = await retried(api, job, {"customer": None, "max_cost": None, "webhook": None})
    assert made["customer"] is None
    default = f"jobs WHERE webhook_url IS NULL AND max_cost = {2 * PRICE}"
    assert await api.life.count(default) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input": {"prompt": " "}}, ["/input/prompt"]),
        ({"input": {"prompt": None}}, ["/input/prompt"]),
        ({"input": {"promt": "x"}}, ["/input/promt"]),
        ({"input": {"model": "dall-e"}}, ["/input/model"]),
        ({"input": {"image_urls": ["https://10.0.0.1/a.png"]}}, ["/input/image_urls/0"]),
        ({"input": None}, ["/input"]),
        ({"prompt": "NEW"}, ["/prompt"]),
        ({"max_cost": PRICE - 1}, ["/max_cost"]),
        ({"deadline": "2020-01-01T00:00:00Z"}, ["/deadline"]),
        ({"queue_ttl": 1}, ["/queue_ttl"]),
        ({"webhook": {"url": "https://10.0.0.1/"}}, ["/webhook/url"]),
        ({"idempotency_key": "k"}, ["/idempotency_key"]),
    ],
)
async def test_changes_are_judged_as_a_submission_is(
    api: Api, changes: Body, named: list[str]
) -> None:
    job = await failed(api)
    refused = await api.client.post(path(job, "/retry"), json=changes)
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == named
    assert await api.life.count("jobs") == 1


async def test_a_key_belongs_to_the_changes_that_it_came_with(api: Api) -> None:
    job = await failed(api)
    key = {"idempotency-key": "again"}
    first = await retried(api, job, {"input": {"prompt": "NEW"}}, **key)
    assert await retried(api, job, {"input": {"prompt": "NEW"}}, **key) == first
    other = await api.client.post(
        path(job, "/retry"), json={"input": {"prompt": "OTHER"}}, headers=key
    )
    problem(other, 422, "idempotency_key_reuse")
    bare = await api.client.post(path(job, "/retry"), headers=key)
    problem(bare, 422, "idempotency_key_reuse")
    assert (await api.client.delete(path(job))).status_code == 204
    assert await retried(api, job, {"input": {"prompt": "NEW"}}, **key) == first, "it is there"


async def test_references_are_carried_or_sent_anew(api: Api) -> None:
    job = await failed(api, input=input_(image_urls=[picture(1), picture(2)]))
    whole = (await api.job(job))["input"]
    assert isinstance(whole, dict)
    first, second = whole["image_urls"]
    assert first.startswith("data:image/png;sha256=")
    carried = await retried(api, job, {"input": {"prompt": "NEW"}})
    sent_back = await retried(api, job, {"input": whole | {"prompt": "NEW"}})
    one = await retried(api, job, {"input": {"image_urls": [second]}})
    fresh = await retried(api, job, {"input": {"image_urls": [picture(3)]}})
    none = await retried(api, job, {"input": {"image_urls": None}})
    found = [each["input"].get("image_urls") for each in (carried, sent_back, one, none)]  # type: ignore[attr-defined]
    assert found == [[first, second], [first, second], [second], None]
    assert (len(api.life.blobs()), fresh["input"] != carried["input"]) == (3, True)
    assert await api.life.count("input_images") == 2 + 2 + 2 + 1 + 1
    stranger = await failed(api)
    refused = await api.client.post(
        path(stranger, "/retry"), json={"input": {"image_urls": [first]}}
    )
    assert pointers(refused) == ["/input/image_urls/0"], "it is another job's"


async def test_a_price_that_has_risen_is_met_by_a_higher_max_cost(api: Api) -> None:
    job = await failed(api, max_cost=PRICE)
    async with api.life.database.transaction() as tx:
        assert await prices.quote(tx, MODEL, PRICE + 1_000)
    api.state.prices = PriceList(api.state.database)
    problem(await api.client.post(path(job, "/retry")), 409, "conflict")
    made = await retried(api, job, {"max_cost": 2 * PRICE})
    assert made["cost"]["held"] == PRICE + 1_000  # type: ignore[index]


NO_BODIES = [
    (b"not json", 400, "malformed_json"),
    (b"{", 400, "malformed_json"),
    (b"null", 422, "invalid_request"),
    (b"[]", 422, "invalid_request"),
    (b'"x"', 422, "invalid_request"),
    (b'{"reason": "x"}', 422, "invalid_request"),
]
_SOME = (NO_BODIES[0], NO_BODIES[-1])  # every route reads its body in the same way


async def test_whatever_takes_no_body_refuses_one(api: Api) -> None:
    things = await one_of_each(api)
    bare = [each for each in operations() if each.body is None and each.method != "GET"]
    assert {"POST /v1/jobs/{id}/cancel", "POST /v1/webhooks/{id}/test"} <= {*map(str, bare)}
    before = [await api.life.count(table) for table in ("jobs", "events", "endpoints", "api_keys")]
    for number, each in enumerate(bare):
        for sent, status, code in NO_BODIES if number == 0 else _SOME:
            refused = await each.ask(api.client, things, JSON, content=sent)
            problem(refused, each.invalid(status), code)
    for each in operations():
        if each.body is not None and each.path != "/v1/jobs":
            for sent, status, _ in _SOME:
                refused = await each.ask(api.client, things, JSON, content=sent)
                assert refused.status_code == each.invalid(status), (str(each), sent, refused.text)
    after = [await api.life.count(table) for table in ("jobs", "events", "endpoints", "api_keys")]
    assert after == before


async def test_an_empty_object_is_no_body(api: Api) -> None:
    job = await api.submit()
    answer = await api.client.post(path(job, "/cancel"), json={})
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert (await api.client.post(path(job, "/retry"), content=b"{}", headers=JSON)).is_success
    form = {"content-type": "application/x-www-form-urlencoded"}
    again = await api.client.post(path(job, "/cancel"), headers=form)
    assert again.status_code == 200, "as `curl -d ''` sends it"


async def test_a_parameter_that_nobody_reads_is_refused_on_every_route(api: Api) -> None:
    things = await one_of_each(api)
    for each in operations():
        refused = await each.ask(api.client, things, {}, statsu="failed")
        said = problem(refused, each.invalid(422), "invalid_request")
        assert pointers(refused) == ["query:statsu"], (str(each), said)
    for where in sorted(OPEN | PAGES):
        refused = await api.client.get(where, params={"statsu": "failed"})
        assert (refused.status_code, pointers(refused)) == (422, ["query:statsu"])
    twice = await api.client.get("/v1/jobs?a=1&b[x]=2&metadata[k]=v&metadata=1&limit=5&a=3")
    assert pointers(twice) == ["query:a", "query:b[x]", "query:metadata"]
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as stranger:
        assert (await stranger.get("/v1/jobs?statsu=failed")).status_code == 401


async def test_a_parameter_that_comes_twice_is_refused_on_every_route(api: Api) -> None:
    things = await one_of_each(api)
    for each in operations():
        keys = [f"{name}[k]" if name == "metadata" else name for name in sorted(each.query)]
        if keys:
            twice: dict[str, Any] = {key: ["1", "1"] for key in keys}
            refused = await each.ask(api.client, things, {}, **twice)
            said = problem(refused, each.invalid(422), "invalid_request")
            named = [f"query:{key}" for key in keys][:20]  # more are not told at once
            assert pointers(refused) == named, (str(each), said)
            assert "more than once" in json.dumps(said)
    several = await api.client.get("/v1/jobs?metadata[a]=1&metadata[b]=1&limit=5&status=failed")
    assert several.status_code == 200


async def test_every_parameter_that_is_documented_is_known(api: Api) -> None:
    things = await one_of_each(api)
    for each in operations():
        if known := each.query - {"metadata"}:
            answer = await each.ask(api.client, things, {}, **dict.fromkeys(known, "1"))
            if answer.is_error:
                assert "no such parameter" not in json.dumps(answer.json()), str(each)


async def test_a_deadline_that_has_passed_is_refused(api: Api) -> None:
    refused = await api.client.post("/v1/jobs", json=body(deadline="2020-01-01T00:00:00Z"))
    problem(refused, 422, "invalid_request")
    assert pointers(refused) == ["/deadline"]
    assert await api.life.count("jobs") == 0


async def test_what_was_accepted_is_given_again_though_it_would_be_refused_now(api: Api) -> None:
    key = {"idempotency-key": "order-17"}
    asked = body(max_cost=PRICE)
    first = await api.client.post("/v1/jobs", json=asked, headers=key)
    async with api.life.database.transaction() as tx:
        assert await prices.quote(tx, MODEL, PRICE + 1_000)
    api.state.prices = PriceList(api.state.database)
    again = await api.client.post("/v1/jobs", json=asked, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]
    fresh = await api.client.post("/v1/jobs", json=asked)
    assert pointers(fresh) == ["/max_cost"]
    other = await api.client.post("/v1/jobs", json=asked | {"tags": ["x"]}, headers=key)
    problem(other, 422, "idempotency_key_reuse")


async def test_an_expired_job_says_why(api: Api) -> None:
    job = await api.submit()
    await api.life.expire(job)
    assert ((await api.job(job))["expired_by"]) == "queue_ttl"
    late = await api.submit(deadline="2100-01-01T00:00:00Z")
    await api.life.alter("UPDATE jobs SET deadline = now() WHERE id = :id", id=late)
    await api.life.clear_away(late)
    assert ((await api.job(late))["expired_by"]) == "deadline"
