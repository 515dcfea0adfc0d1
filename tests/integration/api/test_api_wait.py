"""Long polls: they hold no connection, hear of the end at once, and survive lost rings."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from models.settings import Settings
from tests.conftest import PLAIN
from tests.integration.api.client import Api, path
from tests.integration.api.conftest import Serve


@pytest.fixture
async def ringing(settings: Settings, serving: Serve) -> AsyncIterator[Api]:
    """An API whose jobs are moved by a process that rings, as the worker does."""
    async with serving(settings) as api:
        async with asyncio.timeout(5):
            while not api.state.doorbell.connected:  # noqa: ASYNC110 - the doorbell has no event
                await asyncio.sleep(0.01)
        yield api


async def waiting(api: Api, count: int) -> None:
    """Wait until so many clients are held."""
    async with asyncio.timeout(10):
        while held(api) != count:  # noqa: ASYNC110 - it is the API that counts
            await asyncio.sleep(0.01)


def held(api: Api) -> int:
    """Count the clients that are held."""
    waiters = api.state.doorbell._waiters._waiters.get("job", {})  # noqa: SLF001 - nobody else asks
    return sum(len(each) for each in waiters.values())


async def test_a_finished_job_is_given_at_once(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    answer = await asyncio.wait_for(api.client.get(path(job), params={"wait": 60}), 2)
    assert answer.json()["status"] == "failed"


async def test_a_job_that_does_not_end_is_given_when_the_patience_ends(api: Api) -> None:
    job = await api.submit()
    started = time.monotonic()
    answer = await api.client.get(path(job), params={"wait": 1})
    assert 0.9 < time.monotonic() - started < 4
    assert answer.status_code == 200
    assert answer.json()["status"] == "queued"
    assert answer.headers["retry-after"]


async def test_a_wait_ends_with_its_job_and_not_before(ringing: Api) -> None:
    job = await ringing.submit()
    held_open = asyncio.create_task(ringing.client.get(path(job), params={"wait": 30}))
    await waiting(ringing, 1)
    ref = await ringing.life.start(job)
    ringing.state.doorbell.ring("job", str(job))
    await asyncio.sleep(0.3)
    assert not held_open.done(), "running is not the end"
    await ringing.life.finish(ref)
    ringing.state.doorbell.ring("job", str(job))
    answer = await asyncio.wait_for(held_open, 2)
    assert answer.json()["status"] == "succeeded"


async def test_a_cancel_over_http_rings_whoever_waits(ringing: Api) -> None:
    job = await ringing.submit()
    held_open = asyncio.create_task(ringing.client.get(path(job), params={"wait": 30}))
    await waiting(ringing, 1)
    await ringing.client.post(path(job, "/cancel"))
    answer = await asyncio.wait_for(held_open, 2)
    assert answer.json()["status"] == "canceled"


@pytest.mark.parametrize(
    ("written", "applied"),
    [
        ("wait=1", "wait=1"),
        ("respond-async, wait=1", "wait=1"),
        ('Wait = "1"; foo=bar', "wait=1"),
        ("wait=0", "wait=0"),
        ("respond-async", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("", None),
    ],
)
async def test_a_preference_is_answered_when_it_is_applied(
    api: Api, written: str, applied: str | None
) -> None:
    job = await api.submit()
    answer = await api.client.get(path(job), headers={"prefer": written})
    assert answer.status_code == 200
    assert answer.headers.get("preference-applied") == applied


async def test_a_preference_for_more_than_a_minute_gets_a_minute(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    answer = await api.client.get(path(job), headers={"prefer": "wait=3600"})
    assert answer.headers["preference-applied"] == "wait=60"


async def test_the_query_comes_before_the_preference(api: Api) -> None:
    job = await api.submit()
    answer = await asyncio.wait_for(
        api.client.get(path(job), params={"wait": 0}, headers={"prefer": "wait=60"}), 5
    )
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("wait", ["61", "-1", "+1", "1.5", "soon", "", "\u0661", "9" * 5000])
async def test_a_wait_that_is_none_is_refused(api: Api, wait: str) -> None:
    job = await api.submit()
    answer = await api.client.get(path(job), params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    (wrong,) = answer.json()["errors"]
    assert wrong["pointer"] == "query:wait"
    assert "from 0 to 60" in wrong["message"]


@pytest.mark.long
async def test_two_hundred_waiting_clients_hold_no_connection(
    settings: Settings, serving: Serve
) -> None:
    async with serving(settings.model_copy(update={"database_pool": 2})) as api:
        jobs = [await api.submit() for _ in range(4)]
        clients = [
            asyncio.create_task(api.client.get(path(jobs[n % 4]), params={"wait": 50}))
            for n in range(200)
        ]
        await waiting(api, 200)
        async with asyncio.timeout(5):
            assert (await api.client.post("/v1/jobs", json={"input": {}})).status_code == 422
            await api.submit()
            assert (await api.client.get("/v1/jobs")).status_code == 200
        assert held(api) == 200
        for job in jobs:
            await api.client.post(path(job, "/cancel"))
        async with asyncio.timeout(15):
            answers = await asyncio.gather(*clients)
        assert {each.json()["status"] for each in answers} == {"canceled"}
        assert held(api) == 0


async def test_a_lost_ring_costs_seconds(api: Api) -> None:
    job = await api.submit()
    held_open = asyncio.create_task(api.client.get(path(job), params={"wait": 30}))
    await waiting(api, 1)
    await api.life.succeed(job)  # by a process that rings nobody
    started = time.monotonic()
    answer = await asyncio.wait_for(held_open, 8)
    assert answer.json()["status"] == "succeeded"
    assert time.monotonic() - started < 6.5


async def test_a_client_that_hangs_up_leaves_nothing_behind(api: Api) -> None:
    job = await api.submit()
    before = len(asyncio.all_tasks())
    async with httpx.AsyncClient(
        base_url=api.url, headers=api.client.headers, trust_env=False, verify=PLAIN
    ) as lost:
        clients = [asyncio.create_task(lost.get(path(job), params={"wait": 60})) for _ in range(20)]
        await waiting(api, 20)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    await waiting(api, 0)
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - tasks end unannounced
            await asyncio.sleep(0.01)
    assert (await api.client.get(path(job))).status_code == 200


async def test_a_stopping_process_answers_whoever_waits(api: Api) -> None:
    job = await api.submit()
    held_open = asyncio.create_task(api.client.get(path(job), params={"wait": 60}))
    await waiting(api, 1)
    api.state.waiting.drain()
    answer = await asyncio.wait_for(held_open, 2)
    assert answer.json()["status"] == "queued"


async def test_a_wait_for_nothing_is_not_found_at_once(api: Api) -> None:
    job = await api.submit()
    other = await api.another_project()
    answer = await asyncio.wait_for(
        api.client.get(path(job), params={"wait": 60}, headers=other), 2
    )
    assert answer.status_code == 404
    assert held(api) == 0
