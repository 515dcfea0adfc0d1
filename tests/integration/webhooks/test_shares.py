"""Shares: whatever one project makes many of, or makes slow, another's webhooks find a place."""

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

import pytest

from models.accounts.callers import Caller
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.webhooks import deliveries
from models.webhooks.deliveries import Woken
from tests.conftest import make_project
from tests.fixtures.making import Bench
from tests.fixtures.sending import LEASE, finished

PLACES = 64


@pytest.fixture
def hog(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    """Make whatever it likes."""
    return Bench(database, presenter, caller)


@pytest.fixture
async def quiet(database: Database, presenter: Presenter, vault: Vault) -> Bench:
    """Want one webhook now and then."""
    return Bench(database, presenter, (await make_project(database, vault, "quiet"))[0])


async def due(bench: Bench, origins: int, *, since: str = "1 h") -> None:
    """Let a delivery be due to each of so many origins."""
    await finished(bench, webhook_url="https://0.example/")
    await bench.run(
        "INSERT INTO deliveries (id, project_id, event_id, job_id, url, lane, next_at)"
        " SELECT gen_random_uuid(), project_id, event_id, job_id, url, lane || n,"
        " now() - CAST(:since AS interval) FROM deliveries, generate_series(2, :count) n"
        " WHERE project_id = :project",
        since=since,
        count=origins,
        project=bench.caller.project_id,
    )


async def look(bench: Bench, places: int = PLACES, seen: Mapping[UUID, str] | None = None) -> Woken:
    """Look as a dispatcher does: with the places that are left of so many."""
    (busy,) = await bench.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'sending'")
    free = places - busy["n"]
    return await bench.do(
        lambda tx: deliveries.wake(tx, free, LEASE, cap=8, rate=10_000, seen=seen)
    )


async def held(bench: Bench) -> int:
    """Count the places that a project holds."""
    (row,) = await bench.rows(
        "SELECT count(*) AS n FROM deliveries WHERE state = 'sending' AND project_id = :project",
        project=bench.caller.project_id,
    )
    return int(row["n"])


async def test_a_project_alone_leaves_a_quarter_of_all_places_free(hog: Bench) -> None:
    await due(hog, 150)
    for _ in range(3):
        await look(hog)
    assert await held(hog) == PLACES * 3 // 4


@pytest.mark.parametrize("places", [1, 2, 3, 8])
async def test_with_few_places_there_is_still_one_to_be_had(hog: Bench, places: int) -> None:
    await due(hog, 20)
    assert len((await look(hog, places)).due) == {1: 1, 2: 2, 3: 3, 8: 6}[places]


async def test_whoever_comes_finds_a_place_though_another_has_more_due_and_longer(
    hog: Bench, quiet: Bench
) -> None:
    await due(hog, 150)
    await look(hog)
    await due(quiet, 3, since="0 s")
    await look(hog)
    assert await held(quiet) == 3


async def test_a_project_whose_receivers_hang_has_no_more_than_half(
    hog: Bench, quiet: Bench
) -> None:
    await due(hog, 150)
    await look(hog)
    await hog.run("UPDATE deliveries SET taken_at = now() - interval '3 s' WHERE state = 'sending'")
    assert (await look(hog)).due == [], "it holds 48, and 16 are free"
    await hog.run(
        "UPDATE deliveries SET state = 'pending', lease_until = NULL, taken_at = NULL, next_at = now()"
        " WHERE id IN (SELECT id FROM deliveries WHERE state = 'sending' LIMIT 28)"
    )
    await look(hog)
    assert await held(hog) == PLACES // 2
    await due(quiet, 40, since="0 s")
    await look(hog)
    assert await held(quiet) >= PLACES // 4


async def test_places_go_to_the_project_that_holds_fewest(hog: Bench, quiet: Bench) -> None:
    await due(hog, 150)
    await due(quiet, 150, since="0 s")
    await look(hog, 20)
    both = Counter({"hog": await held(hog), "quiet": await held(quiet)})
    assert abs(both["hog"] - both["quiet"]) <= 1
    assert both.total() < 20, "a third project would find one too"


async def test_a_project_of_very_many_origins_is_gone_through_by_and_by(
    hog: Bench, quiet: Bench
) -> None:
    await due(hog, 900)
    await hog.run("UPDATE deliveries SET next_at = now() + interval '1 h'")
    await hog.run(
        "UPDATE deliveries SET next_at = now() WHERE lane = (SELECT max(lane) FROM deliveries)"
    )
    await due(quiet, 1, since="0 s")
    first = await look(hog)
    assert await held(quiet) == 1, "at the first look"
    assert list(first.seen) == [hog.caller.project_id]
    seen, looks = first.seen, 1
    while not await held(hog):
        seen, looks = (await look(hog, seen=seen)).seen, looks + 1
        assert looks <= 5
    assert looks == 5, "200 at a time"
    assert (await look(hog, seen=seen)).seen != {} or seen == {}


async def test_a_project_that_holds_its_share_is_passed_and_goes_on_where_it_was(
    hog: Bench, quiet: Bench
) -> None:
    await due(hog, 500)
    first = await look(hog)
    (reached,) = first.seen.values()
    await due(quiet, 1, since="0 s")
    second = await look(hog, seen=first.seen)
    assert (dict(second.seen), second.cut) == ({hog.caller.project_id: reached}, False)
    assert await held(quiet) == 1
    await hog.run(
        "UPDATE deliveries SET state = 'delivered', lease_until = NULL, finished_at = now()"
        " WHERE state = 'sending'"
    )
    third = await look(hog, seen=second.seen)
    assert third.cut
    assert third.seen[hog.caller.project_id] > reached


async def test_a_look_says_when_to_look_again(hog: Bench) -> None:
    await due(hog, 3)
    none = await look(hog)
    assert (none.again_in, none.seen) == (None, {})
