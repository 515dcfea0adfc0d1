"""`job_…/images/0` in `image_urls`: the picture of a job of ours, drawn from without sending it."""

import asyncio
from hashlib import sha256

import pytest

from models import ids
from tests.integration.api.client import Api, body, input_, path, pointers, problem
from tests.integration.api.life import PICTURE
from tests.integration.api.test_api_generations import ended, queued

LINK = "https://example.com/a.png"
KEPT = f"data:image/jpeg;sha256={sha256(PICTURE).hexdigest()};length={len(PICTURE)}"


async def drawn(api: Api) -> str:
    """Make a job's image; returns its name."""
    job = await api.submit()
    await api.life.succeed(job)
    return f"{ids.text(ids.JOB, job)}/images/0"


async def test_an_image_of_our_own_is_a_reference_that_outlives_its_job(api: Api) -> None:
    name = await drawn(api)
    job = await api.submit(input=input_(image_urls=[LINK, name, name]))
    shown = await api.job(job)
    assert shown["input"] == input_(image_urls=[LINK, KEPT, KEPT])
    erased = await api.client.delete(f"/v1/jobs/{name.partition('/')[0]}")
    assert erased.status_code == 204
    bytes_ = await api.client.get(path(job, "/references/1"))
    assert (bytes_.status_code, bytes_.content) == (200, PICTURE)
    again = await api.client.post("/v1/jobs", json=body(input=input_(image_urls=[name])))
    assert pointers(again) == ["/input/image_urls/0"]


async def test_a_synchronous_call_edits_what_the_one_before_has_made(api: Api) -> None:
    name = await drawn(api)
    said = {"model": "gpt-image-1", "prompt": "The same at night."}
    for how in (
        {"json": said | {"image_urls": [name]}},
        {"data": said, "files": {"image": (None, name)}},
    ):
        call = asyncio.create_task(api.client.post("/v1/images/edits", **how))
        (job,) = await queued(api, 1, call)
        await ended(api, api.life.succeed(job), job)
        assert (await call).status_code == 200
        shown = await api.job(job)
        assert isinstance(shown["input"], dict)
        assert shown["input"]["image_urls"] == [KEPT]


@pytest.mark.parametrize(
    "kind", ["nobody's", "another project's", "unfinished", "too large", "second"]
)
async def test_what_is_no_image_of_ours_is_refused_by_its_place(api: Api, kind: str) -> None:
    headers: dict[str, str] = {}
    name = f"{ids.text(ids.JOB, ids.new())}/images/0"
    if kind != "nobody's":
        name = await drawn(api)
    if kind == "another project's":
        headers = await api.another_project()
    if kind == "unfinished":
        name = f"{ids.text(ids.JOB, await api.submit())}/images/0"
    if kind == "too large":
        await api.life.alter("UPDATE images SET bytes = 10485761")
    if kind == "second":
        name = name.replace("/images/0", "/images/1")
    answer = await api.client.post(
        "/v1/jobs", json=body(input=input_(image_urls=[LINK, name])), headers=headers
    )
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/input/image_urls/1"]
