"""Deleting a project: what is theirs goes, what was paid stays written, and nobody else loses anything."""

import asyncio
from functools import partial
from uuid import UUID

import pytest
from celery import Celery

from models import jobs
from models.accounts import callers, living, projects
from models.audit_log import verifying
from models.errors import NotFound, Unauthenticated
from models.images import files
from models.images.files import Picture
from models.jobs import Candidate
from models.money import budgets
from models.money.budgets import Rule
from models.operating import emptying, tenants
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.settings import Settings
from models.webhooks import endpoints
from models.webhooks.endpoints import Wish
from tests.conftest import make_project
from tests.fixtures.making import DAY, Bench, asked
from worker.dispatcher.duties import emptying as duty
from worker.dispatcher.duty import Dispatcher

_WAITS = """
    SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
LEFT = ("api_keys", "ledger", "projects", "usage_hours", "usage_totals", "audit_log", "remnants")


async def rounds(bench: Bench, project_id: UUID) -> bool:
    """Take the duty's steps until nothing moves; return whether the project is empty."""
    for _ in range(20):
        found = await bench.do(lambda tx: emptying.unfinished(tx, project_id, 2))
        for each in found:
            cancel = partial(emptying.cancel, presenter=bench.presenter, job_id=each)
            await bench.do(cancel)
        moved = len(found)
        moved += await bench.do(lambda tx: emptying.quieten(tx, project_id, 2))
        moved += await bench.do(lambda tx: emptying.remove_jobs(tx, project_id, 2))
        moved += await bench.do(lambda tx: emptying.remove_files(tx, project_id, 2))
        if not moved:
            return await bench.do(lambda tx: emptying.finish(tx, project_id))
    raise AssertionError("it does not come to an end")


async def remove(bench: Bench, vault: Vault) -> None:
    await bench.do(lambda tx: tenants.remove(tx, vault, bench.caller.project_id))


async def rows_of(bench: Bench, project_id: UUID) -> dict[str, int]:
    """Count the rows that name a project, by table."""
    tables = await bench.rows(
        "SELECT table_name AS name FROM information_schema.columns"
        " WHERE column_name = 'project_id' AND table_schema = 'public'"
    )
    counts = {}
    for row in tables:
        name = row["name"]
        found = await bench.rows(
            f"SELECT count(*) AS n FROM {name} WHERE project_id = :project",  # noqa: S608 - a table's name
            project=project_id,
        )
        counts[name] = found[0]["n"]
    return {name: count for name, count in counts.items() if count}


async def busy(bench: Bench, vault: Vault) -> None:
    """Make one of everything that a project can have."""
    wish = Wish("https://example.com/hook")
    await bench.do(lambda tx: endpoints.register(tx, vault, bench.caller.project_id, wish))
    ref = await bench.running()
    await bench.receive(ref)
    await bench.succeed(ref)
    await bench.refuse(await bench.running())
    await bench.submit()
    await bench.submit(concurrency_key="k")
    await bench.run(
        "INSERT INTO gates (reason, project_id) VALUES ('provider_down', :project)",
        project=bench.caller.project_id,
    )
    picture = Picture("ab" * 32, 3, 20, 20, "image/png")
    kept = partial(files.keep, project_id=bench.caller.project_id, picture=picture, kept=DAY)
    await bench.do(kept)
    rule = Rule("project", "day", "UTC", 10**9, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))


async def test_all_that_is_theirs_goes_and_the_books_stay(bench: Bench, vault: Vault) -> None:
    other = Bench(
        bench.database, bench.presenter, (await make_project(bench.database, vault, "other"))[0]
    )
    for each in (bench, other):
        await busy(each, vault)
    before = await rows_of(other, other.caller.project_id)
    (charged,) = await bench.rows(
        "SELECT sum(credits) AS credits FROM ledger WHERE project_id = :p",
        p=bench.caller.project_id,
    )
    await remove(bench, vault)
    assert await rounds(bench, bench.caller.project_id)
    assert set(await rows_of(bench, bench.caller.project_id)) <= set(LEFT)
    (left,) = await bench.rows(
        "SELECT sum(credits) AS credits FROM ledger WHERE project_id = :p AND kind = 'charge'",
        p=bench.caller.project_id,
    )
    assert charged["credits"] >= left["credits"] == 91_000
    (project,) = await bench.rows(
        "SELECT name, emptied_at IS NOT NULL AS emptied FROM projects WHERE id = :p",
        p=bench.caller.project_id,
    )
    assert project["emptied"]
    assert project["name"].startswith("deleted prj_")
    keys = await bench.rows(
        "SELECT name FROM api_keys WHERE project_id = :p", p=bench.caller.project_id
    )
    assert {row["name"] for row in keys} == {""}
    assert await rows_of(other, other.caller.project_id) == before
    assert await bench.audit() == []
    assert (await verifying.verify(bench.database)).wrong == []


async def test_its_keys_end_and_its_name_is_free_at_once(bench: Bench, vault: Vault) -> None:
    caller, key = await make_project(bench.database, vault, "atelier")
    await bench.do(lambda tx: tenants.remove(tx, vault, caller.project_id))
    assert await bench.do(lambda tx: callers.caller(tx, key)) is None
    with pytest.raises(NotFound):
        await bench.do(lambda tx: projects.find(tx, "atelier"))
    with pytest.raises(NotFound):
        await bench.do(lambda tx: tenants.remove(tx, vault, caller.project_id))
    assert (await make_project(bench.database, vault, "atelier"))[0].project_id != caller.project_id


async def test_a_call_under_way_and_a_charge_that_is_unknown_are_waited_for(
    bench: Bench, vault: Vault
) -> None:
    running = await bench.running()
    lost = await bench.running(on_unknown_charge="fail")
    await bench.lose(lost)
    project_id = bench.caller.project_id
    await remove(bench, vault)
    assert not await rounds(bench, project_id)
    await bench.receive(running)
    await bench.succeed(running)
    assert not await rounds(bench, project_id), "nobody knows what the lost call cost"
    await bench.resolve(lost.job_id, credits_=91_000)
    assert await rounds(bench, project_id)
    rows = await bench.rows("SELECT sum(credits) AS credits FROM ledger WHERE kind = 'charge'")
    assert rows[0]["credits"] == 2 * 91_000
    assert await bench.audit() == []


async def test_a_dispatcher_empties_it_by_itself(
    bench: Bench, vault: Vault, settings: Settings, redis_server: str
) -> None:
    await busy(bench, vault)
    await remove(bench, vault)
    async with Doorbell(redis_server) as doorbell:
        dispatcher = Dispatcher(settings, "d1", bench.database, doorbell, Celery(), bench.presenter)
        while await duty.run(dispatcher):
            pass
    (project,) = await bench.rows(
        "SELECT emptied_at FROM projects WHERE id = :p", p=bench.caller.project_id
    )
    assert project["emptied_at"] is not None
    assert await bench.rows("SELECT 1 FROM jobs") == []
    assert await bench.rows("SELECT 1 FROM set_aside") == []


async def test_a_deletion_waits_for_whoever_found_the_project_there(
    bench: Bench, vault: Vault
) -> None:
    project_id = bench.caller.project_id
    async with bench.database.transaction() as tx:
        await living.demand_project(tx, project_id)
        removing = asyncio.create_task(remove(bench, vault))
        while not await bench.rows(_WAITS):  # noqa: ASYNC110 - for Postgres
            await asyncio.sleep(0.01)
        await jobs.submit(tx, bench.presenter, bench.caller, asked())
    await removing
    assert await rounds(bench, project_id)
    assert await bench.rows("SELECT id FROM jobs") == []


async def test_nothing_more_is_accepted_from_the_moment_it_is_deleted(
    bench: Bench, vault: Vault
) -> None:
    candidate = Candidate.of(bench.caller, asked(), None)
    direct = bench.database.direct
    await remove(bench, vault)
    for budgeted in (False, True):
        assert await jobs.admit_several(direct, [candidate], budgeted=budgeted) == {}
    with pytest.raises(Unauthenticated):
        await bench.submit()
    assert await bench.rows("SELECT id FROM jobs") == []
