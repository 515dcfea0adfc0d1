"""`POST /v1/webhooks/{id}/test`: a signed ping, sent by a worker, and what became of it."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from standardwebhooks import Webhook

from models import ids
from tests.conftest import PLAIN
from tests.fixtures.posting import Mailbox, Post, mailbox, posting
from tests.integration.api.client import Api, Body, pointers, problem


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as opened:
        yield opened


@pytest.fixture
async def post(api: Api) -> AsyncIterator[Post]:
    """A worker that delivers, in another process as far as the API can tell: they meet at Redis."""
    async with asyncio.timeout(5):
        while not api.state.doorbell.connected:  # noqa: ASYNC110 - the doorbell has no event
            await asyncio.sleep(0.01)
    async with posting(api.state.settings, api.state.doorbell.ring) as opened:
        yield opened


async def register(api: Api, url: str, **fields: object) -> Body:
    """Register an endpoint over HTTP."""
    answer = await api.client.post("/v1/webhooks", json={"url": url} | fields)
    assert answer.status_code == 201, answer.text
    made: Body = answer.json()
    return made


def begin(api: Api, endpoint: Body, **params: int) -> "asyncio.Task[httpx.Response]":
    """Begin a test of an endpoint over HTTP."""
    where = f"/v1/webhooks/{endpoint['id']}/test"
    return asyncio.create_task(api.client.post(where, params=params))


async def held(api: Api, count: int = 1) -> None:
    """Wait until so many clients wait for a delivery."""
    async with asyncio.timeout(10):
        while len(api.state.doorbell.waiting("delivery")) != count:  # noqa: ASYNC110 - it is the API that counts
            await asyncio.sleep(0.01)


async def said(test: "asyncio.Task[httpx.Response]") -> Body:
    """Return what a test came to, within the moment that a ring takes."""
    answer = await asyncio.wait_for(test, 4)  # sooner than the sweep
    assert answer.status_code == 200, answer.text
    shown: Body = answer.json()
    return shown


def only_try(shown: Body) -> Body:
    """Read what the only try of a delivery met."""
    tries = shown["tries"]
    assert isinstance(tries, list)
    (met,) = tries
    assert isinstance(met, dict)
    return met


async def test_a_ping_is_delivered_signed_and_told_at_once(
    api: Api, post: Post, box: Mailbox
) -> None:
    endpoint = await register(api, box.url)
    test = begin(api, endpoint)
    await held(api)
    assert await post.send_due() == 1
    shown = await said(test)
    assert (shown["type"], shown["state"], shown["job_id"]) == ("ping", "delivered", None)
    assert shown["endpoint_id"] == endpoint["id"]
    assert str(shown["message"]).startswith("Delivered: the endpoint answered 204 in ")
    (letter,) = box.letters
    event = Webhook(str(endpoint["secret"])).verify(letter.body, letter.headers)
    assert event["type"] == "ping"
    assert letter.headers["webhook-id"] == shown["event_id"]
    logged = (await api.client.get(f"/v1/deliveries/{shown['id']}")).json()
    assert logged | {"message": shown["message"]} == shown


@pytest.mark.parametrize(
    ("status", "state", "sentence"),
    [
        (500, "exhausted", "Not delivered: HTTP 500, after "),
        (302, "exhausted", "Not delivered: redirect, never followed, after "),
        (410, "exhausted", "Not delivered: 410 Gone, after "),
    ],
)
async def test_a_ping_that_fails_says_what_it_met_and_is_not_tried_again(
    api: Api, post: Post, box: Mailbox, status: int, state: str, sentence: str
) -> None:
    box.status = status
    endpoint = await register(api, box.url)
    test = begin(api, endpoint)
    await held(api)
    await post.send_due()
    shown = await said(test)
    assert (shown["state"], shown["next_try_at"]) == (state, None)
    assert str(shown["message"]).startswith(sentence)
    assert only_try(shown)["http_status"] == status
    assert await post.send_due() == 0
    after = (await api.client.get(f"/v1/webhooks/{endpoint['id']}")).json()
    assert (after["enabled"], after["failing_since"]) == (True, None), "a test disables nothing"


async def test_a_ping_to_nobody_says_so(api: Api, post: Post, box: Mailbox) -> None:
    endpoint = await register(api, "http://127.0.0.1:9/")
    test = begin(api, endpoint)
    await held(api)
    await post.send_due()
    shown = await said(test)
    assert shown["state"] == "exhausted"
    assert str(shown["message"]).startswith("Not delivered: nobody took the connection, after ")
    assert box.letters == []


async def test_a_ping_to_a_forbidden_place_is_blocked_and_tells_nothing(
    api: Api, post: Post
) -> None:
    """A name passes when the endpoint is made; where it leads is judged when the worker connects."""
    endpoint = await register(api, "https://example.com/hook")
    await api.life.alter("UPDATE endpoints SET url = 'https://10.0.0.1/hook'")
    test = begin(api, endpoint)
    await held(api)
    await post.send_due()
    shown = await said(test)
    assert shown["state"] == "blocked"
    assert shown["message"] == "Not delivered: address refused."
    assert only_try(shown) | {"at": None} == {
        "number": 1, "at": None, "http_status": None, "latency_ms": 0, "result": "address refused",
    }  # fmt: skip


async def test_a_disabled_endpoint_can_be_tested_before_it_is_enabled(
    api: Api, post: Post, box: Mailbox
) -> None:
    endpoint = await register(api, box.url, enabled=False)
    test = begin(api, endpoint)
    await held(api)
    await post.send_due()
    assert (await said(test))["state"] == "delivered"
    after = (await api.client.get(f"/v1/webhooks/{endpoint['id']}")).json()
    assert after["enabled"] is False


@pytest.mark.parametrize("wait", [0, 1])
async def test_without_a_worker_a_test_says_that_it_still_waits(api: Api, wait: int) -> None:
    endpoint = await register(api, "https://example.com/hook")
    answer = await begin(api, endpoint, wait=wait)
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["state"], shown["tries"]) == ("pending", [])
    assert shown["message"].startswith("Not delivered yet: no worker has sent it so far.")
    assert f"/v1/deliveries/{shown['id']}" in shown["message"]


async def test_a_worker_that_dies_with_a_ping_leaves_its_outcome_unknown(api: Api) -> None:
    endpoint = await register(api, "https://example.com/hook")
    test = begin(api, endpoint)
    await held(api)
    await api.life.alter(
        "UPDATE deliveries SET state = 'exhausted', tries = 1, next_at = NULL, finished_at = now()"
    )
    (waiting,) = api.state.doorbell.waiting("delivery")
    api.state.doorbell.ring("delivery", waiting)
    assert (await said(test))["message"] == (
        "Not known: the worker that was sending it is gone. Test again."
    )


async def test_a_deleted_endpoint_ends_the_test_that_waits(api: Api) -> None:
    endpoint = await register(api, "https://example.com/hook")
    test = begin(api, endpoint)
    await held(api)
    await api.client.delete(f"/v1/webhooks/{endpoint['id']}")
    (waiting,) = api.state.doorbell.waiting("delivery")
    api.state.doorbell.ring("delivery", waiting)
    shown = await said(test)
    assert shown["state"] == "aborted"
    assert str(shown["message"]).startswith("Not sent: it is aborted")


async def test_a_ring_that_is_lost_costs_seconds(api: Api, box: Mailbox) -> None:
    test = begin(api, await register(api, box.url))
    await held(api)
    async with posting(api.state.settings, lambda _topic, _key: None) as post:
        await post.send_due()
    answer = await asyncio.wait_for(test, 8)
    assert answer.json()["state"] == "delivered"


async def test_forty_tests_hold_no_connection(api: Api) -> None:
    tests = []
    for n in range(8):
        theirs = await api.another_project(f"p{n}")
        made = await api.client.post(
            "/v1/webhooks", json={"url": "https://example.com/hook"}, headers=theirs
        )
        where = f"/v1/webhooks/{made.json()['id']}/test"
        posts = (api.client.post(where, headers=theirs) for _ in range(5))
        tests += [asyncio.create_task(each) for each in posts]
    await held(api, 40)
    assert (await api.client.get("/v1/webhooks")).status_code == 200
    api.state.waiting.drain()
    answers = await asyncio.gather(*tests)
    assert {each.json()["state"] for each in answers} == {"pending"}
    assert api.state.doorbell.waiting("delivery") == []


async def test_a_client_that_hangs_up_leaves_nothing_behind(api: Api) -> None:
    endpoint = await register(api, "https://example.com/hook")
    async with httpx.AsyncClient(
        base_url=api.url, headers=api.client.headers, trust_env=False, verify=PLAIN
    ) as lost:
        test = asyncio.create_task(lost.post(f"/v1/webhooks/{endpoint['id']}/test"))
        await held(api)
        test.cancel()
        await asyncio.gather(test, return_exceptions=True)
    await held(api, 0)


@pytest.mark.parametrize("wait", ["-1", "21", "long"])
async def test_a_wait_that_cannot_be_is_refused_and_nothing_is_sent(api: Api, wait: str) -> None:
    endpoint = await register(api, "https://example.com/hook")
    answer = await api.client.post(f"/v1/webhooks/{endpoint['id']}/test", params={"wait": wait})
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["query:wait"]
    assert await api.life.count("deliveries") == 0


async def test_nobody_tests_anothers_endpoint(api: Api) -> None:
    endpoint = await register(api, "https://example.com/hook")
    other = await api.another_project()
    for where in (endpoint["id"], ids.text(ids.ENDPOINT, ids.new())):
        answer = await api.client.post(f"/v1/webhooks/{where}/test", headers=other)
        problem(answer, 404, "not_found")
    assert await api.life.count("deliveries") == 0


async def test_a_ping_is_in_the_log_and_says_what_the_endpoint_hears(
    api: Api, post: Post, box: Mailbox
) -> None:
    endpoint = await register(api, box.url, events=["job.failed"])
    test = begin(api, endpoint)
    await held(api)
    await post.send_due()
    await said(test)
    (logged,) = (await api.client.get(f"/v1/webhooks/{endpoint['id']}/deliveries")).json()["data"]
    assert logged["type"] == "ping"
    data = json.loads(box.letters[0].body)["data"]
    assert data == {"endpoint_id": endpoint["id"], "url": box.url, "events": ["job.failed"]}


async def test_a_project_has_a_few_pings_under_way_and_then_is_asked_to_wait(api: Api) -> None:
    """Nobody sends them here, as if every receiver hung."""
    endpoints = [await register(api, f"https://{n}.example/") for n in range(2)]
    for n in range(5):
        where = f"/v1/webhooks/{endpoints[n % 2]['id']}/test"
        assert (await api.client.post(where, params={"wait": 0})).status_code == 200
    where = f"/v1/webhooks/{endpoints[0]['id']}/test"
    answer = await api.client.post(where, params={"wait": 0})
    problem(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    await api.life.alter("UPDATE lanes SET free_at = now() - interval '1 min'")
    hangs = problem(await api.client.post(where, params={"wait": 0}), 429, "rate_limited")
    assert "5 pings of this project are under way" in str(hangs["detail"])
    await api.life.alter(
        "UPDATE deliveries SET state = 'exhausted', next_at = NULL, finished_at = now()"
    )
    await api.life.alter("UPDATE lanes SET free_at = now() - interval '1 min'")
    assert (await api.client.post(where, params={"wait": 0})).status_code == 200
