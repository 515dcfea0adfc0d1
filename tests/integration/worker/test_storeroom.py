"""A store that takes no images stops the paying, for everybody, until it takes them again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from deploy.simulator import Running
from models import jobs
from models.accounts.callers import Caller
from models.coordination import workers
from models.platform.db import Database
from models.settings import Settings
from tests.fixtures import spending
from tests.fixtures.spending import House
from worker.dispatcher.duties import measuring
from worker.runtime import storeroom

PLACES = 8


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    ours = {"worker_seen": 3600.0}
    async with spending.opened(settings, database, caller, provider, **ours) as opened:
        async with database.transaction() as tx:
            await workers.report(
                tx, "worker-1", generate_slots=PLACES, deliver_slots=1, draining=False
            )
        yield opened


@contextmanager
def away(house: House, name: str = "") -> Iterator[None]:
    """Let a file stand where the store's folder, or the one of a project, is to be."""
    folder = Path(house.settings.storage_url) / name
    elsewhere = folder.with_name("elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(elsewhere)
    folder.touch()
    yield
    folder.unlink()
    elsewhere.rename(folder)


async def closed(house: House) -> list[str]:
    return [row["reason"] for row in await house.bench.rows("SELECT reason FROM gates")]


async def statuses(house: House, made: list[UUID]) -> list[str]:
    return sorted([(await house.bench.job(each))["status"] for each in made])


async def due(house: House) -> None:
    """Let the time pass until what could not be kept is tried again."""
    await house.bench.run("UPDATE jobs SET run_after = now() WHERE phase = 'keep'")


async def test_no_more_is_paid_than_was_in_flight_when_the_store_died(house: House) -> None:
    """The bound is the workers' places: each failed keep has its own until the gate is closed."""
    made = [await house.submit() for _ in range(3 * PLACES)]
    with away(house):
        assert await house.work() == PLACES
        assert await closed(house) == ["storage"]
        for _ in range(3):  # what is paid is tried on, and nothing is called
            await due(house)
            assert await house.work() == PLACES
            await storeroom.probe(house.context)
        assert len(house.provider.world.calls.all) == PLACES
        assert await statuses(house, made) == ["queued"] * len(made)
        await measuring.run(house.reader.dispatcher)
        gate = REGISTRY.get_sample_value("darkroom_gate_closed", {"reason": "storage"})
        assert gate == 1
    await storeroom.probe(house.context)
    assert await closed(house) == []
    while await house.work():
        pass
    assert await statuses(house, made) == ["succeeded"] * len(made)
    assert len(house.provider.world.calls.all) == len(made)


async def test_a_job_that_waits_for_the_store_says_so(house: House) -> None:
    first, other = await house.submit(), await house.submit()
    await house.bench.change(other, "run_after = now() + interval '1 h'")
    with away(house):
        await house.work()
        await house.bench.change(other, "run_after = now()")
        project = house.bench.caller.project_id
        async with house.bench.database.transaction() as tx:
            shown = [await jobs.read(tx, project, each) for each in (first, other)]
            told = [
                await jobs.explain(tx, house.settings, project, each) for each in (first, other)
            ]
    assert [each.show(house.bench.presenter)["waiting_reason"] for each in shown] == ["storage"] * 2
    assert [each["waiting_reason"] for each in told] == ["storage"] * 2
    assert "is paid" in str(told[0]["message"])
    assert "Our own store takes no images" in str(told[1]["message"])


async def test_what_is_paid_is_kept_at_once_when_the_store_is_back(house: House) -> None:
    job = await house.submit()
    with away(house):
        await house.work()
        await house.bench.change(job, "run_after = now() + interval '10 min'")
    await storeroom.probe(house.context)
    assert await house.work() == 1
    assert await statuses(house, [job]) == ["succeeded"]


async def test_one_projects_folder_or_one_image_closes_no_gate(house: House) -> None:
    bad = await house.submit("not_an_image")
    with away(house, str(house.bench.caller.project_id)):
        good = await house.submit()
        await house.work()
        assert (await house.bench.job(good))["waiting_reason"] == "storage"
        assert await closed(house) == []
    await due(house)
    await house.work()
    assert await statuses(house, [good]) == ["succeeded"]
    assert await statuses(house, [bad]) == ["queued"]


async def test_a_call_dispatched_before_the_gate_closed_is_not_made(house: House) -> None:
    made = [await house.submit() for _ in range(3)]
    await house.bench.dispatch(made[0])  # and the others beside it
    await house.bench.run("INSERT INTO gates (reason) VALUES ('storage')")
    assert await house.work() == len(made)
    assert house.provider.world.calls.all == []
    assert await statuses(house, made) == ["queued"] * 3
    await storeroom.probe(house.context)
    while await house.work():
        pass
    assert await statuses(house, made) == ["succeeded"] * 3


async def test_a_reference_that_cannot_be_read_asks_for_a_look_at_the_store(house: House) -> None:
    kept = "data:image/png;sha256=" + "0" * 64 + ";length=10"
    body = {"model": spending.MODEL, "prompt": "a red bicycle", "image_urls": [kept]}
    job = await house.submit(input=body)
    with away(house):
        await house.work()
        assert await closed(house) == ["storage"]
    await house.bench.cancel(job)


async def test_many_that_fail_at_once_try_the_store_once(house: House) -> None:
    with away(house):
        await asyncio.gather(*(storeroom.doubt(house.context, "no room") for _ in range(20)))
    assert house.context.store_tries == 1
    assert await closed(house) == ["storage"]


async def test_of_two_workers_one_closes_and_the_other_opens(house: House) -> None:
    async with spending.opened(
        house.settings, house.bench.database, house.bench.caller, house.provider
    ) as other:
        with away(house):
            await asyncio.gather(
                *(storeroom.doubt(each.context, "no room") for each in (house, other, house, other))
            )
            assert await closed(house) == ["storage"]
            await asyncio.gather(*(storeroom.probe(each.context) for each in (house, other)))
            assert await closed(house) == ["storage"]
        await asyncio.gather(*(storeroom.probe(each.context) for each in (house, other)))
        assert await closed(house) == []
