"""What a worker wakes for itself: only where nothing stands in the way."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from uuid import UUID

import pytest
from psycopg.errors import RaiseException

from models.coordination import aside
from models.platform.vault import Vault
from models.webhooks import deliveries, destinations
from models.webhooks.deliveries import ClaimedDelivery, Place, Tried
from models.webhooks.endpoints import Wish
from tests.fixtures.making import Bench
from tests.fixtures.poison import heal, poison
from tests.fixtures.sending import (
    BUSY,
    DELIVERED,
    LEASE,
    URL,
    finished,
    record,
    registered,
    states,
    take,
    taken,
    wake,
)

JOB_URL = "https://receiver.example/job"


async def here(
    bench: Bench,
    wanted: int = 1,
    *,
    free: int = 100,
    cap: int = 8,
    rate: int = 10_000,
    url: str = JOB_URL,
) -> list[UUID]:
    """Ask for so many of a destination as a worker does; returns those that were had."""
    place = bench.caller.project_id, destinations.of_origin(bench.caller.project_id, url)
    return [each.delivery_id for each in await claims(bench, place, wanted, free, cap, rate)]


async def claims(
    bench: Bench, place: Place, wanted: int, free: int = 100, cap: int = 8, rate: int = 10_000
) -> list[ClaimedDelivery]:
    vault = bench.presenter.vault
    return await deliveries.wake_here(
        bench.database.direct, vault, {place: wanted}, free=free, lease=LEASE, cap=cap, rate=rate
    )


async def due(bench: Bench, count: int = 1, url: str = JOB_URL) -> list[UUID]:
    """Let so many deliveries to a job's own URL be due."""
    made = [await finished(bench, webhook_url=url) for _ in range(count)]
    rows = await bench.rows("SELECT id, job_id FROM deliveries")
    of = {row["job_id"]: row["id"] for row in rows}
    return [of[each] for each in made]


async def test_what_has_nothing_in_its_way_is_had_once(bench: Bench, vault: Vault) -> None:
    made = await due(bench, 3)
    place = bench.caller.project_id, destinations.of_origin(bench.caller.project_id, JOB_URL)
    claimed = await claims(bench, place, 2)
    assert [(each.number, each.url, each.more) for each in claimed] == [(1, JOB_URL, True)] * 2
    claimed += await claims(bench, place, 3)
    assert not claimed[-1].more
    assert sorted(each.delivery_id for each in claimed) == sorted(made)
    assert await here(bench, 3) == [], "they are sending already"
    assert await wake(bench) == []
    again = [(each, 1) for each in made]
    assert await deliveries.take_plain(bench.database.direct, vault, again, LEASE) == []


async def test_what_is_had_here_is_what_is_taken_of_the_dispatcher(
    bench: Bench, vault: Vault
) -> None:
    """Body, secrets and all, whatever signs it."""
    wishes = (Wish(URL), Wish(URL, project_secret=True))
    made = [(await registered(bench, vault, each))[0] for each in wishes]
    await finished(bench, webhook_url=JOB_URL)
    project_id = bench.caller.project_id
    names = [
        destinations.of_origin(project_id, JOB_URL),
        *(destinations.of_endpoint(e.id) for e in made),
    ]
    for name in names:
        (had,) = await claims(bench, (project_id, name), 1)
        await bench.run("UPDATE deliveries SET taken_at = NULL WHERE id = :id", id=had.delivery_id)
        assert await take(bench, vault, (had.delivery_id, had.number)) == had


@pytest.mark.parametrize("change", ["enabled = false", "deleted_at = now()"])
async def test_an_endpoint_that_wants_nothing_now_is_the_dispatchers(
    bench: Bench, vault: Vault, change: str
) -> None:
    made, _ = await registered(bench, vault, Wish(URL))
    await finished(bench)
    await bench.run(f"UPDATE endpoints SET {change}")  # noqa: S608 - of ours
    place = bench.caller.project_id, destinations.of_endpoint(made.id)
    assert await claims(bench, place, 1) == []


async def test_what_an_endpoint_was_moved_to_is_where_it_is_sent(
    bench: Bench, vault: Vault
) -> None:
    made, _ = await registered(bench, vault, Wish(URL))
    await finished(bench)
    await bench.run("UPDATE endpoints SET url = 'https://moved.example/'")
    (had,) = await claims(bench, (bench.caller.project_id, destinations.of_endpoint(made.id)), 1)
    (row,) = await bench.rows("SELECT url FROM deliveries")
    assert had.url == row["url"] == "https://moved.example/"


async def test_of_many_who_ask_at_the_same_moment_each_has_another(bench: Bench) -> None:
    made = await due(bench, 10)
    had = await asyncio.gather(*(here(bench, cap=100) for _ in range(20)), _woken(bench))
    assert sorted(chain.from_iterable(had)) == sorted(made)


async def _woken(bench: Bench) -> list[UUID]:
    return [delivery_id for delivery_id, _ in await wake(bench, cap=100)]


async def test_the_oldest_that_is_due_goes_first(bench: Bench) -> None:
    first, _ = await due(bench), await due(bench)
    assert await here(bench) == first
    await due(bench, url="https://elsewhere.example/job")
    assert len(await here(bench, 5)) == 1, "what is due elsewhere was not asked for"


async def test_what_waits_for_its_time_waits(bench: Bench) -> None:
    await due(bench)
    await bench.run("UPDATE deliveries SET next_at = now() + interval '1 min'")
    assert await here(bench) == []


async def test_a_destination_in_trouble_is_the_dispatchers(bench: Bench, vault: Vault) -> None:
    await due(bench)
    woken = await taken(bench, vault)
    made = await due(bench)
    await record(bench, woken, BUSY)
    assert await here(bench) == [], "it is paused"
    await bench.run("UPDATE lanes SET paused_until = now() - interval '1 s'")
    assert await here(bench) == [], "and slow afterwards"
    await bench.run("UPDATE lanes SET slow = false")
    assert await here(bench) == made


async def test_a_url_that_asked_for_peace_has_it(bench: Bench, vault: Vault) -> None:
    await due(bench)
    lane = destinations.of_url(bench.caller.project_id, JOB_URL)
    await bench.run(
        "INSERT INTO lanes (lane, paused_until) VALUES (:lane, now() + interval '1 min')", lane=lane
    )
    assert await here(bench) == []
    (woken,) = await wake(bench)
    assert await take(bench, vault, woken) is None
    (row,) = await bench.rows("SELECT state, tries, next_at > now() AS later FROM deliveries")
    assert (row["state"], row["tries"], row["later"]) == ("pending", 0, True)


async def test_beside_a_try_that_takes_long_nothing_goes_at_once(
    bench: Bench, vault: Vault
) -> None:
    await due(bench)
    await taken(bench, vault)
    await bench.run("UPDATE deliveries SET taken_at = now() - interval '3 s'")
    await due(bench)
    assert await here(bench) == []


@pytest.mark.parametrize(("cap", "had"), [(0, 0), (1, 1), (4, 4), (8, 6)])
async def test_no_more_go_than_the_cap_lets_pass(bench: Bench, cap: int, had: int) -> None:
    await due(bench, 6)
    assert len(await here(bench, 6, cap=cap)) == had
    assert await here(bench, 6, cap=cap) == []


async def test_a_rate_holds_over_both_ways(bench: Bench) -> None:
    await due(bench, 3)
    assert len(await here(bench, 3, rate=1)) == 1
    assert await here(bench, 3, rate=1) == []
    assert await wake(bench, rate=1) == []


async def test_the_rate_of_an_endpoint_is_its_own(bench: Bench, vault: Vault) -> None:
    made, _ = await registered(bench, vault, Wish(URL, (), rate_limit=1))
    for _ in range(3):
        await finished(bench)
    place = bench.caller.project_id, destinations.of_endpoint(made.id)
    assert len(await claims(bench, place, 3)) == 1


async def test_of_those_who_move_a_rate_at_once_none_is_forgotten(bench: Bench) -> None:
    await due(bench, 20)
    had = await asyncio.gather(*(here(bench, cap=100, rate=1) for _ in range(20)))
    assert sum(map(len, had)) == 1, "the second may go a second later"


async def test_a_project_has_no_more_than_its_share_of_what_is_free(bench: Bench) -> None:
    await due(bench, 7)
    assert await here(bench, 7, free=0) == []
    assert len(await here(bench, 7, free=2)) == 6
    await bench.run("UPDATE deliveries SET taken_at = now() - interval '3 s' WHERE tries > 0")
    other = "https://elsewhere.example/job"
    await due(bench, url=other)
    assert await here(bench, free=6, url=other) == [], "its tries take long"
    assert len(await here(bench, free=7, url=other)) == 1


async def handed_on(
    bench: Bench,
    ended: Sequence[tuple[UUID, int]],
    follows: Sequence[bool] | None = None,
    *,
    free: int = 100,
    cap: int = 8,
    rate: int = 10_000,
) -> tuple[Sequence[bool], list[UUID]]:
    """Let tries deliver, each with another behind it; returns who ended, and who was had instead."""
    tries = [Tried(*each, datetime.now(UTC), DELIVERED) for each in ended]
    written, had = await deliveries.hand_on(
        bench.database.direct, bench.presenter.vault, tries, follows or [True] * len(tries),
        free=free, lease=LEASE, cap=cap, rate=rate,
    )  # fmt: skip
    return written.done, [each.delivery_id for each in had]


async def under_way(bench: Bench, vault: Vault, cap: int = 8) -> Sequence[tuple[UUID, int]]:
    """Let as many tries be under way as there may be in a destination."""
    woken = await wake(bench, cap=cap)
    assert len(woken) == cap
    await deliveries.take_plain(bench.database.direct, vault, woken, LEASE)
    return woken


async def test_a_place_goes_to_the_next_in_one_statement(bench: Bench, vault: Vault) -> None:
    made = await due(bench, 11)
    ended, *others = await under_way(bench, vault)
    done, had = await handed_on(bench, [ended])
    assert (done, had) == ([True], [made[8]]), "and no more than have ended"
    assert await wake(bench, cap=8) == [], "for others no place has become free"
    done, had = await handed_on(bench, others[:3], [True, False, True])
    assert (done, had) == ([True] * 3, made[9:]), "of those that let another follow"
    (row,) = await bench.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'sending'")
    assert row["n"] == 7


async def test_what_takes_a_place_is_all_that_one_is_told_of(bench: Bench, vault: Vault) -> None:
    await registered(bench, vault, Wish(URL, project_secret=True))
    for _ in range(3):
        await finished(bench)
    (ended,) = await under_way(bench, vault, cap=1)
    tries = [Tried(*ended, datetime.now(UTC), DELIVERED)]
    written, (had,) = await deliveries.hand_on(
        bench.database.direct, vault, tries, [True], free=9, lease=LEASE, cap=1, rate=10_000
    )
    assert (written.due, had.more, had.number) == (True, True, 1)
    await bench.run("UPDATE deliveries SET taken_at = NULL WHERE id = :id", id=had.delivery_id)
    assert await take(bench, vault, (had.delivery_id, had.number)) == had
    assert (await states(bench))[0] == ("delivered", 1)
    (logged,) = await bench.rows("SELECT delivery_id, result FROM delivery_tries")
    assert (logged["delivery_id"], logged["result"]) == (ended[0], "delivered")


async def test_who_takes_a_place_asks_what_is_in_flight_beside_it(
    bench: Bench, vault: Vault
) -> None:
    """A try that took long, and has ended, is no reason to let none follow."""
    await due(bench, 9)
    woken = await under_way(bench, vault)
    await bench.run(
        "UPDATE deliveries SET taken_at = now() - interval '3 s' WHERE id = :id", id=woken[0][0]
    )
    assert await handed_on(bench, woken[1:2]) == ([True], []), "one hangs"
    _, had = await handed_on(bench, woken[:1])
    assert len(had) == 1


@pytest.mark.parametrize(
    ("limits", "most"), [({"cap": 7}, 1), ({"free": 0}, 0), ({"free": 1}, 2), ({"rate": 1}, 1)]
)
async def test_no_place_is_passed_on_beyond_a_limit(
    bench: Bench, vault: Vault, limits: dict[str, int], most: int
) -> None:
    await due(bench, 20)
    woken = await under_way(bench, vault)
    await bench.run("UPDATE lanes SET free_at = now() + interval '99 ms'")
    done, had = await handed_on(bench, woken[:2], None, **limits)
    assert (done, len(had)) == ([True, True], most)


async def test_who_is_left_out_gives_no_place_away(bench: Bench, vault: Vault) -> None:
    await due(bench, 9)
    woken = await under_way(bench, vault)
    stale = (woken[0][0], 2)
    assert await handed_on(bench, [stale]) == ([False], [])
    await bench.run("UPDATE lanes SET slow = true")
    assert await handed_on(bench, woken[:1]) == ([False], [])


async def test_of_many_who_give_places_to_the_next_none_goes_beyond_a_cap(
    bench: Bench, vault: Vault
) -> None:
    await due(bench, 16)
    woken = await under_way(bench, vault)
    had = await asyncio.gather(
        *(handed_on(bench, [each]) for each in woken), *(wake(bench, cap=8) for _ in range(4))
    )
    (row,) = await bench.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'sending'")
    assert row["n"] <= 8
    assert all(done == [True] for done, _ in had[:8])


async def test_what_postgres_refused_is_passed_by(bench: Bench) -> None:
    bad, good = await due(bench, 2)
    await poison(bench, "deliveries", bad, "UPDATE")
    with pytest.raises(RaiseException, match="poison"):
        await here(bench, 2)
    await bench.do(lambda tx: aside.put(tx, "wake", bad, "it is poison"))
    assert await here(bench, 2) == [good]
    await heal(bench, "deliveries")
    assert await here(bench, 2) == [bad]
