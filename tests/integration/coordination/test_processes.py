"""Processes: each says that it runs, and leaves when it stops by itself."""

import asyncio

from sqlalchemy import text

from models.coordination import processes
from models.operating import limits
from models.platform.db import Database
from models.platform.version import VERSION


async def seen(database: Database) -> list[tuple[str, str, str, bool]]:
    async with database.transaction() as tx:
        found = await processes.standing(tx)
    return [(each.id, each.role, each.version, lately) for each, lately in found]


async def test_a_process_reports_while_it_runs_and_leaves_in_the_end(database: Database) -> None:
    name = processes.name()
    async with processes.reported(database, name, "dispatcher"):
        while not await seen(database):  # noqa: ASYNC110 - a row in Postgres has no event
            await asyncio.sleep(0.01)
        assert await seen(database) == [(name, "dispatcher", VERSION, True)]
    assert await seen(database) == []


async def test_one_that_died_is_missing_and_then_forgotten(database: Database) -> None:
    async with database.transaction() as tx:
        await processes.report(tx, "w-1", "worker")
        await processes.report(tx, "w-1", "worker")
    assert len(await seen(database)) == 1
    for ago, left in (("1 minute", [("w-1", "worker", VERSION, False)]), ("11 minutes", [])):
        async with database.transaction() as tx:
            await tx.execute(
                text("UPDATE processes SET seen_at = now() - CAST(CAST(:ago AS text) AS interval)"),
                {"ago": ago},
            )
            await processes.forget(tx)
        assert await seen(database) == left


async def test_a_minute_has_one_sample_with_its_last_limit_and_its_most_calls(
    database: Database,
) -> None:
    async with database.direct.transaction() as one:  # so that all are of the same minute
        for calls, in_flight in ((4, 4), (8, 3), (8, 6), (8, 6)):
            await limits.sample(one, calls, in_flight)
    async with database.transaction() as tx:
        (sample,) = (await tx.execute(text("SELECT calls, in_flight FROM limit_samples"))).all()
        assert tuple(sample) == (8, 6)
        await tx.execute(text("UPDATE limit_samples SET at = at - interval '9 days'"))
        await limits.forget(tx)
        assert (await tx.execute(text("SELECT 1 FROM limit_samples"))).all() == []
