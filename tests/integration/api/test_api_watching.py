"""`GET /v1/events`: what happens to a project's jobs, as it happens, and what was missed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from models import ids
from tests.integration.api.client import Api, bearer, problem

Told = tuple[str, str, str]  # id, type, job


@asynccontextmanager
async def watching(api: Api, **headers: str) -> AsyncIterator[AsyncIterator[Told]]:
    asked = {"accept": "text/event-stream", **headers}
    async with api.client.stream("GET", "/v1/events", headers=asked) as answer:
        assert answer.status_code == 200
        yield told(answer.aiter_lines())


async def told(lines: AsyncIterator[str]) -> AsyncIterator[Told]:
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if line and not line.startswith(":"):
            fields[name] = value
        elif fields:
            shown = json.loads(fields["data"])
            yield fields.get("id", ""), shown.get("type", fields["event"]), shown.get("job", "")
            fields = {}


async def polled(api: Api, **headers: str) -> list[Told]:
    answer = await api.client.get("/v1/events", headers=headers)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"

    async def lines() -> AsyncIterator[str]:
        for line in answer.text.split("\n"):
            yield line

    return [each async for each in told(lines())]


async def test_who_watches_is_told_what_happens_to_the_projects_jobs_alone(api: Api) -> None:
    other = await api.another_project()
    async with asyncio.timeout(20), watching(api) as changes:
        # Refused: nothing happens.
        await api.client.post("/v1/jobs", json={"input": {"model": "m"}})
        foreign = await api.client.post("/v1/jobs", json=_body(), headers=other)
        assert foreign.status_code == 202
        job = await api.submit()
        name = ids.text("job", job)
        assert (await anext(changes))[1:] == ("job.accepted", name)
        await api.life.succeed(job)
        assert {(await anext(changes))[1:] for _ in range(2)} == {
            ("job.running", name),
            ("job.succeeded", name),
        }


async def test_who_comes_again_is_told_what_came_since(api: Api) -> None:
    first = await api.submit()
    (seen,) = await polled(api)
    assert seen[1:] == ("job.accepted", ids.text("job", first))
    second = await api.submit()
    assert await polled(api, **{"last-event-id": seen[0]}) != []
    async with asyncio.timeout(20), watching(api, **{"last-event-id": seen[0]}) as changes:
        assert (await anext(changes))[1:] == ("job.accepted", ids.text("job", second))


async def test_who_was_away_for_long_is_told_that_something_was_skipped(api: Api) -> None:
    long_ago = ids.text("evt", ids.first_at(datetime.now(UTC) - timedelta(hours=1)))
    assert [each[1] for each in await polled(api, **{"last-event-id": long_ago})] == ["skipped"]


async def test_many_watch_by_one_look(api: Api) -> None:
    async with asyncio.timeout(20):
        streams = [watching(api) for _ in range(5)]
        opened = [await each.__aenter__() for each in streams]
        name = ids.text("job", await api.submit())
        assert {(await anext(each))[2] for each in opened} == {name}
        for each in streams:
            await each.__aexit__(None, None, None)


async def test_a_stream_ends_when_its_process_drains(api: Api) -> None:
    async with asyncio.timeout(10), watching(api) as changes:
        api.state.watching.drain()
        assert [each async for each in changes] == []
    api.state.watching._draining = False  # noqa: SLF001 - the file's API goes on


async def test_watching_needs_a_key_that_reads(api: Api) -> None:
    asked = {"accept": "text/event-stream"}
    problem(
        await api.client.get("/v1/events", headers=asked | bearer("dr_live_no")),
        401,
        "unauthenticated",
    )
    narrow = await api.key_with("usage:read")
    problem(await api.client.get("/v1/events", headers=asked | narrow), 403, "scope_missing")


def _body() -> dict[str, object]:
    return {"input": {"model": "bytedance/seedream-5-0-lite-preview", "prompt": "A lighthouse."}}
