"""New deliveries that a worker wakes itself: only where nothing stands in their way."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from uuid import UUID

import pytest

from models.accounts.projects import Caller
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.webhooks import deliveries, destinations
from models.webhooks.endpoints import Wish
from tests.fixtures.making import Bench
from tests.fixtures.sending import (
    BUSY,
    LEASE,
    endpoint,
    finished,
    record,
    registered,
    taken,
    wake,
)

JOB_URL = "https://receiver.example/job"


@pytest.fixture
def bench(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    return Bench(database, presenter, caller)


async def at_once(
    bench: Bench, new: Sequence[UUID], *, free: int = 100, cap: int = 8, rate: int = 10_000
) -> list[UUID]:
    """Ask for deliveries as a worker does; returns those that were had."""
    woken = await deliveries.wake_at_once(
        bench.database.direct, new, free=free, lease=LEASE, cap=cap, rate=rate
    )
    return [delivery_id for delivery_id, _ in woken]


async def new(bench: Bench, count: int = 1, url: str = JOB_URL) -> list[UUID]:
    """Let so many deliveries to a job's own URL come to be."""
    made = [await finished(bench, webhook_url=url) for _ in range(count)]
    rows = await bench.rows("SELECT id, job_id FROM deliveries")
    of = {row["job_id"]: row["id"] for row in rows}
    return [of[each] for each in made]


async def test_what_has_nothing_in_its_way_is_had_once(bench: Bench, vault: Vault) -> None:
    made = await new(bench, 3)
    assert sorted(await at_once(bench, made)) == sorted(made)
    assert await at_once(bench, made) == [], "they are sending already"
    assert await wake(bench) == []
    claimed = await deliveries.take_plain(
        bench.database.direct, vault, [(each, 1) for each in made], LEASE
    )
    assert [(each.number, each.url) for each in claimed] == [(1, JOB_URL)] * 3


async def test_of_many_who_ask_at_the_same_moment_one_has_it(bench: Bench) -> None:
    made = await new(bench)
    had = await asyncio.gather(*(at_once(bench, made) for _ in range(10)), _woken(bench))
    assert list(chain.from_iterable(had)) == made


async def _woken(bench: Bench) -> list[UUID]:
    return [delivery_id for delivery_id, _ in await wake(bench)]


async def test_something_older_that_is_due_goes_first(bench: Bench) -> None:
    older = await new(bench)
    await bench.run("UPDATE deliveries SET next_at = now() - interval '1 s'")
    made = await new(bench)
    assert await at_once(bench, made) == []
    elsewhere = await new(bench, url="https://elsewhere.example/job")
    assert await at_once(bench, elsewhere) == elsewhere
    assert [each for each, _ in await wake(bench)] == older + made


async def test_a_try_that_waits_for_its_time_is_not_in_the_way(bench: Bench) -> None:
    await new(bench)
    await bench.run("UPDATE deliveries SET next_at = now() + interval '1 min'")
    made = await new(bench)
    assert await at_once(bench, made) == made


async def test_a_destination_in_trouble_is_the_dispatchers(bench: Bench, vault: Vault) -> None:
    await new(bench)
    woken = await taken(bench, vault)
    made = await new(bench)
    await record(bench, woken, BUSY)
    assert await at_once(bench, made) == [], "it is paused"
    await bench.run("UPDATE lanes SET paused_until = now() - interval '1 s'")
    assert await at_once(bench, made) == [], "and slow afterwards"
    await bench.run("UPDATE lanes SET slow = false")
    assert await at_once(bench, made) == made


async def test_a_url_that_asked_for_peace_has_it(bench: Bench) -> None:
    made = await new(bench)
    lane = destinations.of_url(bench.caller.project_id, JOB_URL)
    await bench.run(
        "INSERT INTO lanes (lane, paused_until) VALUES (:lane, now() + interval '1 min')", lane=lane
    )
    assert await at_once(bench, made) == []


async def test_beside_a_try_that_takes_long_nothing_goes_at_once(
    bench: Bench, vault: Vault
) -> None:
    await new(bench)
    await taken(bench, vault)
    await bench.run("UPDATE deliveries SET taken_at = now() - interval '3 s'")
    assert await at_once(bench, await new(bench)) == []


@pytest.mark.parametrize(("cap", "had"), [(1, 0), (2, 1), (8, 4)])
async def test_half_of_a_destinations_cap_may_go_at_once(bench: Bench, cap: int, had: int) -> None:
    made = await new(bench, 6)
    assert len(await at_once(bench, made, cap=cap)) == had
    assert len(await wake(bench, cap=cap)) == min(cap, 6) - had, "the dispatcher fills it"


async def test_a_rate_holds_over_both_ways(bench: Bench, vault: Vault) -> None:
    slow, _ = await registered(bench, vault, Wish("https://a.example/1", (), rate_limit=1))
    rows = "SELECT id FROM deliveries WHERE endpoint_id = :endpoint AND state = 'pending'"

    async def waiting() -> list[UUID]:
        return [row["id"] for row in await bench.rows(rows, endpoint=slow.id)]

    await finished(bench)
    assert len(await at_once(bench, await waiting())) == 1
    await finished(bench)
    assert await at_once(bench, await waiting()) == []
    assert await wake(bench) == []


async def test_of_those_who_move_a_rate_at_once_none_is_forgotten(bench: Bench) -> None:
    made = await new(bench, 20)
    # However long this took: each is new, and in nobody's way.
    await bench.run("UPDATE deliveries SET next_at = now() + interval '1 min'")
    had = await asyncio.gather(*(at_once(bench, [each], cap=100, rate=2) for each in made))
    assert sum(map(len, had)) == 1, "the second may go half a second later"


async def test_a_project_has_no_more_than_its_share_of_what_is_free(bench: Bench) -> None:
    made = [(await new(bench, url=f"https://{n}.example/"))[0] for n in range(7)]
    assert await at_once(bench, made, free=0) == []
    had = await at_once(bench, made, free=2)
    assert len(had) == 6
    await bench.run(
        "UPDATE deliveries SET taken_at = now() - interval '3 s' WHERE state = 'sending'"
    )
    (left,) = set(made) - set(had)
    assert await at_once(bench, [left], free=6) == [], "its tries take long"
    assert await at_once(bench, [left], free=7) == [left]


async def test_what_is_held_or_gone_is_not_had(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    await finished(bench)
    ids = [row["id"] for row in await bench.rows("SELECT id FROM deliveries")]
    await bench.run("UPDATE deliveries SET state = 'held', next_at = NULL")
    assert await at_once(bench, [*ids, made.id]) == []
