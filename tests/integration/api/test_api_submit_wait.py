"""A submission that waits: 200 and the finished job, or 202; whatever becomes of it, the job is there."""

import asyncio
import base64
import io
import random
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest
from PIL import Image

from models import ids
from models.settings import Settings
from tests.integration.api.client import Api, body, input_, job_id, path, problem
from tests.integration.api.conftest import Serve
from tests.integration.api.test_api_wait import held, ringing, waiting

__all__ = ["ringing"]  # a fixture

Ask = Callable[[Api], "asyncio.Task[httpx.Response]"]


async def the_job(api: Api) -> UUID:
    """Return the only unfinished job there is, as soon as somebody waits for it."""
    await waiting(api, 1)
    listed = (await api.client.get("/v1/jobs", params={"status": "queued"})).json()["data"]
    assert len(listed) == 1
    return job_id(listed[0]["id"])


async def end(api: Api, job: UUID) -> None:
    """End a job as the worker does: with its image, and a ring."""
    await api.life.succeed(job)
    api.state.doorbell.ring("job", str(job))


@pytest.mark.parametrize("by", ["query", "header"])
async def test_a_submission_is_answered_with_its_finished_job(ringing: Api, by: str) -> None:
    asked = body(input=input_(response_format="b64_json"))
    post = ringing.client.post
    held_open = asyncio.create_task(
        post("/v1/jobs?wait=30", json=asked)
        if by == "query"
        else post("/v1/jobs", json=asked, headers={"prefer": "wait=30"})
    )
    job = await the_job(ringing)
    await end(ringing, job)
    answer = await asyncio.wait_for(held_open, 10)
    shown = answer.json()
    assert (answer.status_code, shown["status"], shown["has_image"]) == (200, "succeeded", True)
    assert shown["result"]["data"][0]["b64_json"], "as GET of this job has it"
    assert answer.headers["location"] == path(job)
    assert answer.headers["etag"]
    assert answer.headers.get("preference-applied") == ("wait=30" if by == "header" else None)
    assert "retry-after" not in answer.headers


async def test_a_job_that_takes_longer_is_accepted(api: Api) -> None:
    answer = await api.client.post("/v1/jobs", json=body(), headers={"prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert (answer.headers["preference-applied"], answer.headers["retry-after"]) == ("wait=1", "2")
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"


@pytest.mark.parametrize("wait", ["61", "-1", "x", ""])
async def test_a_wait_that_is_none_makes_no_job(api: Api, wait: str) -> None:
    problem(await api.client.post(f"/v1/jobs?wait={wait}", json=body()), 422, "invalid_request")
    assert await api.life.count("jobs") == 0


async def test_a_replay_waits_for_the_job_that_is_there(ringing: Api) -> None:
    key = {"idempotency-key": "order-17"}
    job = job_id((await ringing.client.post("/v1/jobs", json=body(), headers=key)).json()["id"])
    held_open = asyncio.create_task(
        ringing.client.post("/v1/jobs?wait=30", json=body(), headers=key)
    )
    await waiting(ringing, 1)
    await end(ringing, job)
    answer = await asyncio.wait_for(held_open, 10)
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
    assert answer.json()["id"] == ids.text(ids.JOB, job)
    at_once = await ringing.client.post("/v1/jobs?wait=30", json=body(), headers=key)
    assert (at_once.status_code, at_once.json()["status"]) == (200, "succeeded")
    plain = await ringing.client.post("/v1/jobs", json=body(), headers=key)
    assert plain.status_code == 202, "who does not wait is answered as ever"


async def test_a_retry_waits_too(ringing: Api) -> None:
    job = await ringing.submit()
    await ringing.life.fail(job)
    held_open = asyncio.create_task(ringing.client.post(f"{path(job, '/retry')}?wait=30"))
    await end(ringing, await the_job(ringing))
    answer = await asyncio.wait_for(held_open, 10)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


async def test_a_client_that_hangs_up_has_its_job_all_the_same(api: Api) -> None:
    key = {"idempotency-key": "order-17"}
    held_open = asyncio.create_task(api.client.post("/v1/jobs?wait=60", json=body(), headers=key))
    job = await the_job(api)
    held_open.cancel()
    await waiting(api, 0)
    assert held(api) == 0
    again = await api.client.post("/v1/jobs", json=body(), headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert job_id(again.json()["id"]) == job


async def test_who_is_held_holds_no_room_for_a_body(settings: Settings, serving: Serve) -> None:
    small = settings.model_copy(update={"bodies_max_bytes": 384 * 1024})
    async with serving(small) as api:
        asked = body(input=input_(prompt="a" * 1_000, image_urls=[noise()]))
        held_open = []
        for n in range(3):
            post = api.client.post("/v1/jobs?wait=60", json=asked)
            held_open.append(asyncio.create_task(post))
            await waiting(api, n + 1)
        assert await api.life.count("jobs") == 3, "there is room for one at a time"
        api.state.waiting.drain()
        assert {(await each).status_code for each in held_open} == {202}


def noise() -> str:
    """Make a reference of 150 kB."""
    written = io.BytesIO()
    Image.frombytes("RGB", (192, 192), random.Random(1).randbytes(192 * 192 * 3)).save(  # noqa: S311 - noise
        written, "PNG"
    )
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
