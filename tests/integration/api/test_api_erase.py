"""`DELETE /v1/jobs/{id}`, and what an image's URL answers when the image is gone."""

import time
from base64 import b64encode
from io import BytesIO
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from PIL import Image

from models.images import collector
from models.images.storage import Store
from models.images.urls import signed_message
from tests.conftest import PLAIN
from tests.integration.api.client import Api, body, input_, path, problem
from tests.integration.api.life import PICTURE

ERASED = {
    "id", "object", "status", "customer", "priority", "created_at", "started_at", "finished_at",
    "erased_at", "queue_expires_at", "deadline", "attempts", "cost",
    "sequence", "charged",
}  # fmt: skip


def reference(color: str = "red") -> str:
    """Draw a small picture; returns its data: URL."""
    drawn = BytesIO()
    Image.new("RGB", (32, 32), color).save(drawn, "PNG")
    return f"data:image/png;base64,{b64encode(drawn.getvalue()).decode()}"


async def finished(api: Api) -> tuple[UUID, str]:
    """Make a job with an image; returns the path and signature of its URL."""
    job = await api.submit(metadata={"who": "Ann"}, tags=["Ann"], customer="c_9")
    await api.life.succeed(job)
    result = (await api.job(job))["result"]
    assert isinstance(result, dict)
    parts = urlsplit(result["data"][0]["url"])
    return job, f"{parts.path}?{parts.query}"


async def by_url(api: Api, url: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as client:
        return await client.get(url)


async def test_an_erased_job_shows_ids_charges_and_times(api: Api) -> None:
    job, _ = await finished(api)
    before = await api.job(job)
    answer = await api.client.delete(path(job))
    assert (answer.status_code, answer.content) == (204, b"")
    after = await api.job(job)
    assert {name for name, value in after.items() if value} <= ERASED
    assert after["input"] is after["result"] is None
    kept = ("id", "status", "customer", "created_at", "finished_at", "cost", "attempts")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert after["erased_at"] is not None


async def test_erasing_again_is_no_error(api: Api) -> None:
    job, _ = await finished(api)
    answers = [await api.client.delete(path(job)) for _ in range(2)]
    assert [each.status_code for each in answers] == [204, 204]


async def test_a_job_that_is_not_finished_cannot_be_erased(api: Api) -> None:
    job = await api.submit()
    problem(await api.client.delete(path(job)), 409, "not_finished")
    assert (await api.job(job))["erased_at"] is None


async def test_its_images_are_gone_by_key_and_by_every_url_that_was_given(api: Api) -> None:
    job, url = await finished(api)
    assert (await by_url(api, url)).content == PICTURE
    await api.client.delete(path(job))
    problem(await by_url(api, url), 410, "erased")
    for rest in ("/images/0", "/images/0/thumbnail"):
        problem(await api.client.get(path(job, rest)), 410, "erased")


async def test_an_erased_job_cannot_be_retried(api: Api) -> None:
    job, _ = await finished(api)
    await api.client.delete(path(job))
    problem(await api.client.post(path(job, "/retry")), 410, "erased")


async def test_an_image_past_its_retention_says_so_to_an_old_url_too(api: Api) -> None:
    job, _ = await finished(api)
    await api.life.alter("UPDATE images SET expires_at = now(), removed_at = now()")
    exp = int(time.time()) - 1
    where = path(job, "/images/0")
    old = f"{where}?exp={exp}&sig={api.state.vault.mac(signed_message(where, exp))}"
    problem(await by_url(api, old), 410, "image_expired")
    problem(await api.client.get(where), 410, "image_expired")
    assert (await api.job(job))["status"] == "succeeded"


async def sweep(api: Api) -> None:
    """Delete what nobody refers to, as the dispatcher does after the grace."""
    await api.life.alter("UPDATE remnants SET since = since - interval '1 h'")
    async with api.life.database.transaction() as tx:
        swept, _ = await collector.sweep(tx, 100)
    for each in swept:
        await Store(api.life.storage_url).remove(str(each.project_id), each.sha256)


async def test_the_references_of_an_erased_job_go_and_those_of_another_stay(api: Api) -> None:
    shared, own = reference("red"), reference("blue")
    first = await api.submit(input=input_(image_urls=[shared, own]))
    second = await api.submit(input=input_(image_urls=[shared]))
    assert await api.life.count("remnants") == 0, "what a job refers to has no mark"
    for job, left in ((first, 1), (second, 0)):
        await api.client.post(path(job, "/cancel"))
        await api.client.delete(path(job))
        await sweep(api)
        assert len(api.life.blobs()) == left


async def test_what_a_refused_submission_brought_along_goes_too(api: Api) -> None:
    budget = {"window": "day", "limit": 0, "mode": "hard"}
    assert (await api.client.put("/v1/budgets", json=budget)).status_code == 200
    asked = body(input=input_(image_urls=[reference()]))
    problem(await api.client.post("/v1/jobs", json=asked), 402, "budget_exceeded")
    await sweep(api)
    assert api.life.blobs() == []
