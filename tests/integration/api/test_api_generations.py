"""`POST /v1/images/generations`: three dialects in, the shape that their clients read out."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from tests.fixtures.drawing import draw
from tests.integration.api import client
from tests.integration.api.client import MODEL, PRICE, Api, job_id, path
from tests.integration.api.life import PICTURE

URL = "/v1/images/generations"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Demand that an answer is this refusal; returns its body."""
    return dict(client.problem(answer, status, code))


def asked(**fields: object) -> dict[str, object]:
    return {"model": MODEL, "prompt": "A lighthouse in the snow."} | fields


async def queued(
    api: Api, count: int = 1, call: "asyncio.Task[httpx.Response] | None" = None
) -> list[UUID]:
    """Wait until so many jobs are queued; returns them, oldest first."""
    while True:
        if call is not None and call.done():
            raise AssertionError(f"it was answered before: {(await call).text}")
        async with api.life.database.transaction() as tx:
            rows = await tx.scalars(text("SELECT id FROM jobs WHERE status = 'queued' ORDER BY id"))
            found = list(rows)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)


@asynccontextmanager
async def calling(
    api: Api, headers: dict[str, str] | None = None, said: Mapping[str, object] | None = None
) -> AsyncIterator["asyncio.Task[httpx.Response]"]:
    """Send a call that says this, and have it under way for the block."""
    post = api.client.post(URL, json=asked() | {**(said or {})}, headers=headers)
    task = asyncio.create_task(post)
    yield task
    await task


async def made(
    api: Api, count: int = 1, picture: bytes = PICTURE, headers: dict[str, str] | None = None,
    said: Mapping[str, object] | None = None, **fields: object,
) -> httpx.Response:  # fmt: skip
    """Send a call that says this, and make its images."""
    body = {**(said or {}), **fields}
    async with calling(api, headers=headers, said=body) as call:
        for job in await queued(api, count, call):
            await ended(api, api.life.succeed(job, picture), job)
        return await call


async def ended(api: Api, life: Awaitable[None], job: UUID) -> None:
    """End a job, and ring: nobody does in these tests; others are released anew with the next."""
    await api.life.alter("UPDATE jobs SET status = 'queued', lease_until = NULL "
                         "WHERE status = 'released'")  # fmt: skip
    await life
    api.state.doorbell.wake("job", str(job))


async def input_of(api: Api, answer: httpx.Response) -> dict[str, Any]:
    shown = await api.job(job_id(answer.json()["data"][0]["job_id"]))
    assert isinstance(shown["input"], dict)
    return shown["input"]


async def test_the_providers_own_body_is_answered_as_the_provider_does(api: Api) -> None:
    answer = await made(api, image_size="2K", seed=7)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said.keys() == {"created", "data", "meta"}
    assert said["meta"] == {"usage": {"credits_used": PRICE}}
    (item,) = said["data"]
    assert item.keys() == {"url", "size", "job_id"}
    assert item["size"] == "2048x2048"
    assert answer.headers["x-darkroom-job"] == item["job_id"]
    assert answer.headers["x-inference-id"] == "inf-1"
    assert answer.headers["x-aimlapi-credits-used"] == str(PRICE)
    assert "x-should-retry" not in answer.headers
    job = await api.job(job_id(item["job_id"]))
    assert job["priority"] == "interactive"
    url = httpx.URL(item["url"])
    shown = await api.client.get(url.raw_path.decode(), headers={"authorization": "Bearer other"})
    assert (shown.status_code, shown.content) == (200, PICTURE)
    assert shown.headers["access-control-allow-origin"] == "*"
    head = await api.client.head(url.raw_path.decode())
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PICTURE)))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"size": "2048x1800"}, {"image_size": {"width": 2048, "height": 1800}}),
        ({"size": "4K"}, {"image_size": "4K"}),
        ({"size": "auto"}, {}),
        ({"image_size": {"width": 3000}}, {"image_size": {"width": 3000}}),
        ({"seed": None, "size": None, "n": None, "image_urls": None}, {}),
        ({"output_format": "jpeg", "watermark": True}, {"watermark": True}),
    ],
    ids=str,
)
async def test_a_field_of_any_dialect_becomes_a_field_of_the_input(
    api: Api, said: dict[str, object], meant: dict[str, object]
) -> None:
    answer = await made(api, said=said)
    assert answer.status_code == 200, answer.text
    assert await input_of(api, answer) == asked(response_format="url") | meant


@pytest.mark.parametrize(
    "fields", [{"response_format": "b64_json"}, {"output_format": "b64_json"}], ids=str
)
async def test_base_64_is_the_kept_bytes(api: Api, fields: dict[str, object]) -> None:
    picture = PICTURE + b"x"  # whatever is left over of threes
    answer = await made(api, picture=picture, said=fields)
    (item,) = answer.json()["data"]
    assert item.keys() == {"b64_json", "size", "job_id"}
    assert base64.b64decode(item["b64_json"]) == picture
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("gpt-image-1", "b64_json"), ("gpt-image-1-mini", "b64_json"), ("dall-e-3", "url")],
)
async def test_a_name_that_clients_bring_along_is_the_default_model(
    api: Api, name: str, shape: str
) -> None:
    answer = await made(api, model=name, size="1024x1024", quality="standard", style="vivid")
    assert answer.status_code == 200, answer.text
    assert shape in answer.json()["data"][0]
    assert answer.headers["x-darkroom-ignored"] == "quality, style"
    input_ = await input_of(api, answer)
    assert input_["model"] == MODEL
    assert input_["image_size"] == {"width": 1920, "height": 1920}


async def test_a_small_size_is_refused_with_the_nearest_or_scaled_up_when_asked(api: Api) -> None:
    answer = await api.client.post(URL, json=asked(size="1792x1024"))
    refused = problem(answer, 400, "invalid_request")
    assert refused["errors"] == [{"pointer": "/size", "message": refused["error"]["message"][6:]}]
    assert "2540x1452" in str(refused["detail"])
    assert refused["error"]["param"] == "size"
    lenient = await made(api, size="1792x1024", headers={"prefer": "handling=lenient"})
    assert lenient.headers["preference-applied"] == "handling=lenient"
    assert (await input_of(api, lenient))["image_size"] == {"width": 2540, "height": 1452}


@pytest.mark.parametrize("name", ["n", "num_images"])
async def test_several_images_are_jobs_with_one_hold(api: Api, name: str) -> None:
    answer = await made(api, 3, said={name: 3})
    said = answer.json()
    assert len({each["job_id"] for each in said["data"]}) == 3
    assert said["meta"]["usage"]["credits_used"] == 3 * PRICE
    assert answer.headers["x-darkroom-job"] == ", ".join(each["job_id"] for each in said["data"])


async def test_a_budget_decides_about_all_images_at_once(api: Api) -> None:
    budget = {"scope": "project", "window": "total", "limit": 2 * PRICE}
    assert (await api.client.put("/v1/budgets", json=budget)).status_code == 200
    refused = problem(await api.client.post(URL, json=asked(n=3)), 402, "budget_exceeded")
    assert f"would hold {3 * PRICE:,}" in str(refused["detail"])
    assert refused["budget"]["left"] == 2 * PRICE
    assert await api.life.count("jobs") == 0
    assert (await made(api, 2, n=2)).status_code == 200


async def test_what_was_made_of_several_is_answered_beside_what_failed(api: Api) -> None:
    async with calling(api, said={"n": 2}) as call:
        first, second = await queued(api, 2)
        await ended(api, api.life.succeed(first), first)
        await ended(api, api.life.fail(second), second)
        answer = await call
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 1
    (error,) = answer.json()["errors"]
    assert error["code"] == "content_refused"


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("webp", b"RIFF")])
async def test_another_format_is_converted_and_the_original_stays(
    api: Api, kind: str, magic: bytes
) -> None:
    picture = draw("JPEG")
    inline = await made(api, picture=picture, output_format=kind, response_format="b64_json")
    assert base64.b64decode(inline.json()["data"][0]["b64_json"]).startswith(magic)
    linked = await made(api, picture=picture, output_format=kind)
    shown = await api.client.get(httpx.URL(linked.json()["data"][0]["url"]).raw_path.decode())
    assert shown.headers["content-type"] == f"image/{kind}"
    assert shown.content.startswith(magic)
    kept = await api.client.get(path(job_id(linked.json()["data"][0]["job_id"]), "/images/0"))
    assert kept.content == picture


@pytest.mark.parametrize("accept", ["image/*", "image/jpeg;q=1, application/json;q=0.1"])
async def test_whoever_accepts_an_image_gets_its_bytes(api: Api, accept: str) -> None:
    answer = await made(api, headers={"accept": accept})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content == PICTURE
    assert answer.headers["x-darkroom-job"].startswith("job_")


async def test_options_of_a_job_and_its_customer(api: Api) -> None:
    said = {"metadata": {"order": "A-17"}, "tags": ["t"], "priority": "bulk"}
    answer = await made(api, darkroom=said, user="jo@example.com")
    job = await api.job(job_id(answer.json()["data"][0]["job_id"]))
    assert job["metadata"] == {"order": "A-17", "user": "jo@example.com"}
    assert (job["tags"], job["priority"]) == (["t"], "bulk")
    assert str(job["customer"]).startswith("user_")
    for named in (
        {"safety_identifier": "s_1"},
        {"user": "s_1", "safety_identifier": "s_1", "darkroom": {"customer": "s_1"}},
        {"user": "", "darkroom": {"customer": "s_1"}},
    ):
        plain = await made(api, **named)
        assert (await api.job(job_id(plain.json()["data"][0]["job_id"])))["customer"] == "s_1"


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"mask": "data:"}, "mask"),
    ({"markup": "x"}, "markup"),
    ({"background": "transparent"}, "background"),
    ({"output_format": "svg"}, "output_format"),
    ({"output_format": "gif"}, "output_format"),
    ({"n": 11}, "n"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"num_images": "2"}, "num_images"),
    ({"n": 1, "num_images": 2}, "n"),
    ({"prompt": ""}, "prompt"),
    ({"promt": "x"}, "promt"),
    ({"size": "big"}, "size"),
    ({"size": "9000x9000"}, "size"),
    ({"size": "2K", "image_size": "2K"}, "size"),
    ({"image_urls": ["ftp://x"]}, "image_urls"),
    ({"darkroom": {"priority": "now"}}, "darkroom"),
    ({"user": "a", "safety_identifier": "b"}, "user"),
    ({"user": "a", "darkroom": {"customer": "b"}}, "user"),
    ({"safety_identifier": "a b", "darkroom": {"customer": "b"}}, "safety_identifier"),
    ({"darkroom": {"webhook": {"url": "https://10.0.0.1/"}}}, "darkroom"),
    ({"darkroom": 1}, "darkroom"),
    ({"darkroom": {"max_cost": 1}}, "darkroom"),
    ({"darkroom": {"reuse": "exact"}, "n": 2}, "darkroom"),
    ({"stream": "yes"}, "stream"),
    ({"output_compression": 101}, "output_compression"),
    ({"user": 5}, "user"),
    ({"response_format": "xml"}, "response_format"),
    ({"response_format": "url", "output_format": "b64_json"}, "output_format"),
]  # fmt: skip


async def test_what_cannot_be_had_is_refused_by_its_name(api: Api) -> None:
    told = []
    for fields, _ in REFUSED:
        answer = await api.client.post(URL, json=asked(**fields))
        refused = problem(answer, 400, str(answer.json()["code"]))
        error = refused["error"]
        assert isinstance(error, dict)
        assert error.keys() == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == ("invalid_request_error", refused["code"])
        assert answer.headers["x-should-retry"] == "false"
        told.append((fields, error["param"]))
    assert told == REFUSED
    assert await api.life.count("jobs") == 0


async def test_a_model_that_is_not_there_is_404_and_none_is_400(api: Api) -> None:
    refused = problem(await api.client.post(URL, json=asked(model="x/y")), 404, "model_not_found")
    assert refused["error"]["param"] == "model"
    answer = await api.client.post(URL, json={"prompt": "A lighthouse."})
    assert problem(answer, 400, "invalid_request")["error"]["param"] == "model"
    for body in ("[]", "", "null", "{"):
        answer = await api.client.post(
            URL, content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, body
        assert "error" in answer.json()
    answer = await api.client.post(URL, content="x", headers={"content-type": "text/plain"})
    assert (
        problem(answer, 415, "unsupported_media_type")["error"]["type"] == "invalid_request_error"
    )


async def test_a_key_that_is_none_is_told_in_both_dialects(api: Api) -> None:
    answer = await api.client.post(
        URL, json=asked(), headers={"authorization": "Bearer sk-nothing"}
    )
    refused = problem(answer, 401, "unauthenticated")
    assert refused["error"]["type"] == "authentication_error"
    assert answer.headers["x-should-retry"] == "false"
    narrow = await api.key_with("jobs:read")
    answer = await api.client.post(URL, json=asked(), headers=narrow)
    assert problem(answer, 403, "scope_missing")["error"]["code"] == "scope_missing"


async def test_an_image_that_takes_too_long_is_504_and_its_retry_gets_it(api: Api) -> None:
    impatient = {"x-stainless-read-timeout": "10.1"}
    answer = await api.client.post(URL, json=asked(), headers=impatient)
    refused = problem(answer, 504, "still_running")
    assert refused["retryable"] is True
    assert answer.headers["x-should-retry"] == "true"
    assert 0 < int(answer.headers["retry-after"]) <= 59
    (job,) = await queued(api)
    assert answer.headers["location"] == path(job)
    mine = (await api.client.get("/v1/keys")).json()["data"][0]["id"]
    fresh = (await api.client.post(f"/v1/keys/{mine}/rotate", json={"grace": 60})).json()["key"]
    # Without counting, as n8n does; and its key was rotated meanwhile.
    again = await made(api, headers={"authorization": f"Bearer {fresh}"})
    assert again.headers["x-darkroom-job"] == path(job).rpartition("/")[2]
    assert again.json()["data"][0]["job_id"] == path(job).rpartition("/")[2]
    assert await api.life.count("jobs") == 1


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [("fail", 400, "content_refused"), ("expire", 502, "expired")],
)
async def test_a_job_without_an_image_is_told_as_a_status(
    api: Api, end: str, status: int, code: str
) -> None:
    async with calling(api) as call:
        (job,) = await queued(api)
        await ended(api, getattr(api.life, end)(job), job)
        answer = await call
    refused = problem(answer, status, code)
    assert refused["error"]["code"] == code
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-darkroom-job"] == path(job).rpartition("/")[2]


async def test_one_key_is_one_job_on_this_route_too(api: Api) -> None:
    key = {"idempotency-key": "order-17"}
    first = await made(api, 2, headers=key, n=2)
    again = await api.client.post(URL, json=asked(n=2), headers=key)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.client.post(URL, json=asked(n=1), headers=key)
    assert problem(other, 422, "idempotency_key_reuse")["error"]["code"] == "idempotency_key_reuse"
    assert await api.life.count("jobs") == 2


async def test_a_stream_says_that_it_lives_and_then_the_image(api: Api) -> None:
    headers = {"x-stainless-read-timeout": "0.4"}
    async with api.client.stream("POST", URL, json=asked(stream=True), headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == ":"
        await anext(lines)
        assert await anext(lines) == ":"
        (job,) = await queued(api)
        await ended(api, api.life.succeed(job), job)
        rest = [line async for line in lines if line not in {"", ":"}]
    assert rest[0] == "event: image_generation.completed"
    event = json.loads(rest[1].removeprefix("data: "))
    assert event["type"] == "image_generation.completed"
    assert base64.b64decode(event["b64_json"]) == PICTURE
    assert (event["size"], event["output_format"]) == ("2048x2048", "jpeg")
    assert isinstance(event["created_at"], int)


async def test_a_stream_of_several_waits_for_each_as_long_as_there_is_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = api.state.settings.model_copy(update={"sync_wait": timedelta(seconds=20)})
    monkeypatch.setattr(api.state, "settings", short)
    async with api.client.stream("POST", URL, json=asked(stream=True, n=3)) as answer:
        lines = (line async for line in answer.aiter_lines() if line.startswith("event:"))
        told = []
        for job in await queued(api, 3):
            await ended(api, api.life.succeed(job), job)
            told.append(await anext(lines))
        assert told == ["event: image_generation.completed"] * 3
        assert [each async for each in lines] == []


async def test_what_goes_wrong_in_a_stream_is_an_event(api: Api) -> None:
    async with api.client.stream("POST", URL, json=asked(stream=True)) as answer:
        (job,) = await queued(api)
        await ended(api, api.life.fail(job), job)
        lines = [line async for line in answer.aiter_lines() if line not in {"", ":"}]
    assert lines[0] == "event: error"
    event = json.loads(lines[1].removeprefix("data: "))
    assert event["type"] == "error"
    assert event["error"]["code"] == "content_refused"


async def test_an_alias_of_the_project_comes_first(api: Api) -> None:
    own = {"gpt-image-1": {"model": MODEL, "response_format": "url", "scale": False}}
    await api.life.alter("UPDATE projects SET aliases = CAST(:own AS jsonb)", own=json.dumps(own))
    key = await api.key_with("jobs:write")  # the other's project is known for some seconds
    said = asked(model="gpt-image-1", size="1024x1024")
    problem(await api.client.post(URL, json=said, headers=key), 400, "invalid_request")
    answer = await made(api, headers=key, model="gpt-image-1")
    assert "url" in answer.json()["data"][0]
