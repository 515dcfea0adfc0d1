"""The same picture in many submissions at once: none pulls it from under another, nor refuses it."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from models.images import collector
from models.images.storage import Store
from tests.fixtures.drawing import draw
from tests.integration.api.client import Api, problem
from tests.integration.api.test_api_references import asking, inline


async def test_many_at_once_may_bring_the_same_new_pictures(api: Api) -> None:
    brought = [inline(draw("png", (32, size))) for size in (32, 48)]
    asked = [asking(*(brought if n % 2 else reversed(brought))) for n in range(40)]
    answers = await asyncio.gather(*(api.client.post("/v1/jobs", json=each) for each in asked))
    assert {each.status_code for each in answers} == {202}, [each.text for each in answers]
    assert await api.life.count("remnants") == 0, "what a job refers to has no mark"
    await all_readable(api, 40)


@pytest.mark.long
async def test_none_is_lost_to_a_deletion_while_it_comes_again(api: Api) -> None:
    brought, over = inline(draw("png")), asyncio.Event()
    sweeping = asyncio.create_task(sweep_without_grace(api, over))
    try:
        async with asyncio.TaskGroup() as crowd:
            for n in range(24):
                crowd.create_task(come_and_go(api, asking(brought), stays=n % 3 == 0))
    finally:
        over.set()
        await sweeping
    await all_readable(api, 8)


async def come_and_go(api: Api, asked: dict[str, object], *, stays: bool) -> None:
    """Submit until it is taken: while the very bytes are deleted it is to be sent again; then erase it."""
    while (answer := await api.client.post("/v1/jobs", json=asked)).status_code != 202:
        assert "deleted" in str(problem(answer, 503, "unavailable")["detail"])
    where = f"/v1/jobs/{answer.json()['id']}"
    if not stays:
        assert (await api.client.post(f"{where}/cancel")).is_success
        assert (await api.client.delete(where)).status_code == 204


async def sweep_without_grace(api: Api, over: asyncio.Event) -> None:
    """Delete whatever nobody refers to as fast as can be: more races in a second than in a year."""
    store = Store(api.life.storage_url)
    while not over.is_set():
        async with api.life.database.transaction() as tx:
            swept, _ = await collector.sweep(tx, 100, timedelta(0))
        for each in swept:
            await store.remove(str(each.project_id), each.sha256)
        async with api.life.database.transaction() as tx:
            await collector.gone(tx, swept)


async def all_readable(api: Api, jobs: int) -> None:
    """Demand so many jobs, and that the store has what each of them refers to."""
    async with api.life.database.transaction() as tx:
        rows = await tx.execute(text("SELECT job_id, project_id, sha256 FROM input_images"))
    referred = [(str(each.job_id), f"{each.project_id}/{each.sha256}") for each in rows]
    assert len({job for job, _ in referred}) == jobs
    store = Store(api.life.storage_url)
    for blob in {blob for _, blob in referred}:
        assert await store.verify(blob), blob
