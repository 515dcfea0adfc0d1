"""Server-Sent Events: a snapshot, each change, the end; and a stream that broke off is resumed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import pytest

from tests.integration.api.client import Api, bearer, path, problem


@dataclass(frozen=True)
class Told:
    """One event as a browser's `EventSource` reads it."""

    id: str
    name: str
    status: str


@asynccontextmanager
async def listening(api: Api, job: UUID, **headers: str) -> AsyncIterator[AsyncIterator[Told]]:
    """Open a stream; returns its events."""
    async with api.client.stream("GET", path(job, "/events"), headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def events(answer: httpx.Response) -> AsyncIterator[Told]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line and not line.startswith(":"):
            fields[name] = value
        elif fields:
            shown = json.loads(fields["data"])
            yield Told(fields["id"], fields["event"], shown["status"])
            fields = {}


def ring(api: Api, job: UUID) -> None:
    """Ring as the worker's process does after its commit."""
    api.state.doorbell.wake("job", str(job))


async def test_a_stream_tells_the_state_then_each_change_and_ends_with_the_job(api: Api) -> None:
    job = await api.submit()
    async with asyncio.timeout(10), listening(api, job) as told:
        assert (await anext(told)).status == "queued"
        ref = await api.life.start(job)
        ring(api, job)
        assert (await anext(told)).status == "running"
        await api.life.finish(ref)
        ring(api, job)
        rest = [each.status async for each in told]
    assert rest[-1:] == ["succeeded"]
    assert set(rest) <= {"running", "succeeded"}


async def test_an_event_is_the_job_as_get_shows_it_under_its_etag(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    async with asyncio.timeout(10), listening(api, job) as told:
        found = [each async for each in told]
    answer = await api.client.get(path(job))
    assert found == [Told(answer.headers["etag"], "job", "failed")]


async def test_a_stream_is_resumed_after_the_last_event(api: Api) -> None:
    job = await api.submit()
    async with asyncio.timeout(10), listening(api, job) as told:
        last = await anext(told)
    async with asyncio.timeout(10), listening(api, job, **{"last-event-id": last.id}) as told:
        coming = asyncio.ensure_future(anext(told))
        done, _ = await asyncio.wait({coming}, timeout=0.3)
        assert not done, "the state that the client has was told again"
        await api.life.fail(job)
        ring(api, job)
        assert (await coming).status == "failed"


async def last_event(api: Api, job: UUID, seen: str) -> str | None:
    """Come back as a browser does; returns the last event that it is told, None for a 204."""
    headers = {"last-event-id": seen}
    async with api.client.stream("GET", path(job, "/events"), headers=headers) as answer:
        told = [each async for each in events(answer)]
        if answer.status_code == 204:
            assert told == []
            return None
        assert answer.status_code == 200
        return told[-1].id


async def test_who_has_the_last_event_is_told_to_stay_away(api: Api) -> None:
    job = await api.submit()
    async with asyncio.timeout(10), listening(api, job) as told:
        first = await anext(told)
        await api.life.fail(job)
        ring(api, job)
        last = [each async for each in told][-1]
    assert await last_event(api, job, last.id) is None
    for stale in (first.id, "", "garbage", '"999"', f"W/{last.id}", "*"):
        assert await last_event(api, job, stale) == last.id, "it has missed something"
    assert (await api.client.delete(path(job))).status_code == 204
    erased = await last_event(api, job, last.id)
    assert erased not in {None, last.id}, "that it was erased is news"
    assert await last_event(api, job, erased or "") is None


@pytest.mark.parametrize("end", ["succeed", "fail", "expire", "cancel"])
async def test_every_end_is_an_end(api: Api, end: str) -> None:
    job = await api.submit()
    if end == "cancel":
        await api.client.post(path(job, "/cancel"))
    else:
        await {"succeed": api.life.succeed, "fail": api.life.fail, "expire": api.life.expire}[end](
            job
        )
    last = await last_event(api, job, "")
    assert last is not None
    assert await last_event(api, job, last) is None


async def test_a_ring_without_a_change_tells_nothing(api: Api) -> None:
    job = await api.submit()
    async with asyncio.timeout(10), listening(api, job) as told:
        await anext(told)
        ring(api, job)
        ring(api, job)
        await api.life.fail(job)
        ring(api, job)
        assert [each.status async for each in told] == ["failed"]


async def test_a_process_that_drains_ends_its_streams(api: Api) -> None:
    job = await api.submit()
    async with asyncio.timeout(10), listening(api, job) as told:
        await anext(told)
        api.state.waiting.drain()
        assert [each async for each in told] == []


async def test_nobody_listens_to_what_is_not_theirs(api: Api) -> None:
    job = await api.submit()
    theirs = await api.another_project()
    foreign = await api.client.get(path(job, "/events"), headers=theirs)
    unknown = await api.client.get(path(uuid4(), "/events"))
    problem(foreign, 404, "not_found")
    problem(unknown, 404, "not_found")
    refused = await api.client.get(path(job, "/events"), headers=bearer("dr_live_no"))
    assert refused.status_code == 401
