"""Destinations: what slows one down, how fast it may be, and what looking at them costs."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from models.coordination import workers
from models.platform.db import Transaction
from models.platform.vault import Vault
from models.webhooks import deliveries, destinations
from models.webhooks.deliveries import Tried, TryResult
from models.webhooks.deliveries.waking import _WAKE, LIMITS
from models.webhooks.endpoints import Wish
from tests.fixtures.making import Bench
from tests.fixtures.sending import (
    BUSY,
    DELIVERED,
    LATER,
    LEASE,
    PATIENCE,
    URL,
    endpoint,
    finished,
    look,
    one_more,
    record,
    registered,
    sending,
    take,
    wake,
)
from tests.fixtures.spending import House
from worker.dispatcher.duties import forgetting, waking
from worker.dispatcher.duty import Dispatcher, repeat

JOB_URL = "https://receiver.example/job"


async def due(bench: Bench, count: int, *, url: str = JOB_URL, since: str = "1 h") -> None:
    """Let so many deliveries be due in the destination of a job's own URL."""
    await finished(bench, webhook_url=url)
    await bench.run(
        "INSERT INTO deliveries (id, project_id, event_id, job_id, url, lane, next_at)"
        " SELECT gen_random_uuid(), project_id, event_id, job_id, url, lane,"
        " now() - CAST(:since AS interval) FROM deliveries, generate_series(2, :count)"
        " WHERE url = :url",
        since=since,
        count=count,
        url=url,
    )


async def over(bench: Bench) -> None:
    """Let the pauses of all destinations be over."""
    await bench.run("UPDATE lanes SET paused_until = now() - interval '1 s'")


# Slow destinations.


async def test_a_busy_receiver_is_left_alone_and_then_asked_one_try_at_a_time(
    bench: Bench, vault: Vault
) -> None:
    _, woken = await sending(bench, vault)
    for _ in range(12):
        await finished(bench)
    await record(bench, woken, BUSY)
    assert await wake(bench) == [], "the whole destination waits"

    await over(bench)
    (one,) = await wake(bench)
    assert await wake(bench) == []
    await take(bench, vault, one)
    await record(bench, one, LATER)
    (other,) = await wake(bench)
    await take(bench, vault, other)
    await record(bench, other, DELIVERED)
    assert len(await wake(bench)) == 8, "one success, and it is as fast as before"


async def test_a_pause_never_gets_shorter_and_a_try_that_left_before_it_does_not_end_it(
    bench: Bench, vault: Vault
) -> None:
    _, first = await sending(bench, vault)
    second, third = await one_more(bench, vault), await one_more(bench, vault)
    await finished(bench)
    await record(bench, first, BUSY)
    (lane,) = await bench.rows("SELECT paused_until, slow FROM lanes")
    await bench.do(lambda tx: _slow(tx, timedelta(seconds=1)))
    await record(bench, second, DELIVERED)
    assert await bench.rows("SELECT paused_until, slow FROM lanes") == [lane]

    await over(bench)
    await record(bench, third, DELIVERED)
    assert (await bench.rows("SELECT slow FROM lanes"))[0]["slow"] is False


async def _slow(tx: Transaction, pause: timedelta) -> None:
    lane = await tx.scalar(text("SELECT lane FROM lanes"))
    await destinations.slow(tx, lane, pause)


async def test_a_busy_receiver_slows_no_other_lane(bench: Bench, vault: Vault) -> None:
    _, woken = await sending(bench, vault)
    await endpoint(bench, vault, url=URL + "/other")
    await record(bench, woken, BUSY)
    await finished(bench, webhook_url=JOB_URL)
    urls = {row["url"] for row in await bench.rows("SELECT url FROM deliveries WHERE tries = 0")}
    assert urls == {URL, URL + "/other", JOB_URL}
    assert len(await wake(bench)) == 2


async def test_a_jobs_own_url_slows_its_projects_origin(bench: Bench, vault: Vault) -> None:
    for path in ("a", "b"):
        await finished(bench, webhook_url=f"https://one.example/{path}")
    await finished(bench, webhook_url="https://two.example/a")
    (woken, *_) = await wake(bench, 1)
    await take(bench, vault, woken)
    await record(bench, woken, BUSY)
    rows = await bench.rows("SELECT id, url FROM deliveries")
    urls = {row["id"]: row["url"] for row in rows}
    assert [urls[id_] for id_, _ in await wake(bench)] == ["https://two.example/a"]


async def test_one_url_that_asks_for_a_day_waits_for_it_and_its_origin_for_a_minute(
    bench: Bench, vault: Vault
) -> None:
    for path in ("mine", "mine", "yours"):
        await finished(bench, webhook_url=f"https://hooks.shared.example/{path}")
    (first, *_) = await wake(bench, 1)
    await take(bench, vault, first)
    a_day = timedelta(days=1)
    await record(bench, first, replace(BUSY, next_in=a_day, pause=a_day))
    assert await wake(bench) == [], "the origin is left in peace"
    waits = await bench.rows(
        "SELECT max(paused_until) - now() AS wait FROM lanes WHERE lane LIKE '%https://%'"
    )
    assert waits[0]["wait"] <= timedelta(minutes=1)

    await bench.run("UPDATE lanes SET paused_until = paused_until - interval '1 min'")
    taken = []
    for _ in range(3):  # one at a time, for the origin is still slow
        for woken in await wake(bench):
            parcel = await take(bench, vault, woken)
            if parcel is not None:
                taken.append(parcel.url)
                await record(bench, woken, DELIVERED)

    assert taken == ["https://hooks.shared.example/yours"]
    rows = await bench.rows(
        "SELECT state, tries, next_at - now() AS wait FROM deliveries ORDER BY id"
    )
    assert [(row["state"], row["tries"]) for row in rows] == [
        ("pending", 1), ("pending", 0), ("delivered", 1),
    ]  # fmt: skip
    assert all(row["wait"] > timedelta(hours=23) for row in rows[:2]), "no try was spent"


async def test_a_new_delivery_to_a_url_that_asked_for_peace_says_when_it_may_be_tried(
    bench: Bench, vault: Vault
) -> None:
    await finished(bench, webhook_url=JOB_URL)
    (first,) = await wake(bench)
    await take(bench, vault, first)
    an_hour = timedelta(hours=1)
    await record(bench, first, replace(BUSY, next_in=an_hour, pause=an_hour))
    job_id = await finished(bench, webhook_url=JOB_URL)
    ((logged,), _) = await bench.do(lambda tx: deliveries.log(tx, job_id=job_id))
    (url,) = await bench.rows("SELECT paused_until FROM lanes WHERE lane LIKE 'url:%'")
    assert logged.next_try_at == url["paused_until"]


async def test_the_log_shows_the_later_of_a_deliverys_time_and_its_destinations_pause(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    await finished(bench)
    await record(bench, woken, BUSY)
    found, _ = await bench.do(lambda tx: deliveries.log(tx, endpoint_id=made.id))
    (lane,) = await bench.rows("SELECT paused_until FROM lanes")
    waits, tried = found
    assert waits.next_try_at == lane["paused_until"]
    assert tried.next_try_at == max(lane["paused_until"], _at(tried.delivery.next_at))
    await bench.run("UPDATE lanes SET paused_until = now() - interval '1 h'")
    again, _ = await bench.do(lambda tx: deliveries.log(tx, endpoint_id=made.id))
    assert [each.next_try_at for each in again] == [each.delivery.next_at for each in again]


def _at(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment


# Rates and caps.


async def test_a_lane_begins_as_many_tries_as_its_rate_lets_pass(bench: Bench) -> None:
    await due(bench, 30)
    first = await look(bench, cap=100, rate=10)
    assert len(first.due) == 2, "one, and what a tenth of a second lets pass"
    assert first.again_in is not None
    assert timedelta(0) < first.again_in <= timedelta(milliseconds=100)
    assert len(await wake(bench, cap=100, rate=10)) == 0
    await bench.run("UPDATE lanes SET free_at = free_at - interval '1 s'")
    # A second later there is no more than that: what was not used is not saved up.
    assert len(await wake(bench, cap=100, rate=10)) == 2


async def test_over_a_second_a_rate_is_neither_missed_nor_passed(bench: Bench) -> None:
    await due(bench, 60)
    began, sent = await _clock(bench), 0
    for _ in range(20):
        await bench.run("UPDATE lanes SET free_at = free_at - interval '50 ms'")
        sent += len(await wake(bench, cap=1_000, rate=40))
    # 20 looks, 50 ms apart by the destination's clock; the test's own time passes beside it.
    passed = (await _clock(bench) - began).total_seconds()
    assert 40 <= sent <= 1 + 40 * (0.1 + 1 + passed)


async def _clock(bench: Bench) -> datetime:
    (row,) = await bench.rows("SELECT clock_timestamp() AS now")
    now: datetime = row["now"]
    return now


async def test_an_endpoint_may_have_a_rate_of_its_own(bench: Bench, vault: Vault) -> None:
    await registered(bench, vault, Wish(URL, rate_limit=1))
    await endpoint(bench, vault, url=URL + "/free")
    for _ in range(5):
        await finished(bench)
    woken = await wake(bench)
    rows = await bench.rows("SELECT url FROM deliveries WHERE state = 'sending'")
    assert Counter(row["url"] for row in rows) == {URL: 1, URL + "/free": 5}
    assert len(woken) == 6


async def test_nobody_looks_again_soon_for_a_lane_that_waits_for_something_else(
    bench: Bench, vault: Vault
) -> None:
    assert (await look(bench)).again_in is None
    await due(bench, 20)
    full = await look(bench, cap=3)
    assert (len(full.due), full.again_in) == (3, None)
    assert (await look(bench, cap=3)).again_in is None
    for woken in full.due:
        await take(bench, vault, woken)
        await record(bench, woken, BUSY)
    assert (await look(bench, rate=1)).again_in is None


async def test_a_lane_whose_try_takes_long_has_a_quarter_of_its_cap(
    bench: Bench, vault: Vault
) -> None:
    await due(bench, 20)
    (first,) = await wake(bench, 1, cap=8)
    await take(bench, vault, first)
    await bench.run(
        "UPDATE deliveries SET taken_at = now() - interval '3 seconds' WHERE taken_at IS NOT NULL"
    )
    assert len(await wake(bench, cap=8)) == 1
    await record(bench, first, DELIVERED)
    assert len(await wake(bench, cap=8)) == 7


async def test_two_dispatchers_at_once_wake_everything_once(bench: Bench) -> None:
    for host in range(6):
        await due(bench, 20, url=f"https://{host}.example/")
    found = await asyncio.gather(*(wake(bench, 50, cap=20) for _ in range(6)))
    woken = [each for part in found for each in part]
    assert len(woken) == len(set(woken)) >= 50
    woken += await wake(bench, 200, cap=20)
    assert len(woken) == len(set(woken)) == 120


async def test_a_turn_knows_when_to_look_next(house: House) -> None:
    bench, dispatcher = house.bench, house.reader.dispatcher
    await bench.do(
        lambda tx: workers.report(tx, "w", generate_slots=1, deliver_slots=100, draining=False)
    )
    assert await waking.run(dispatcher, waking.Cursor()) is False
    await due(bench, 12)
    await bench.run("UPDATE deliveries SET next_at = now() - interval '1 s'")
    slow = dispatcher.settings.model_copy(update={"webhook_rate": 20})
    limited = Dispatcher(
        slow,
        dispatcher.name,
        dispatcher.database,
        dispatcher.doorbell,
        dispatcher.celery,
        dispatcher.presenter,
    )
    soon = await waking.run(limited, waking.Cursor())
    assert isinstance(soon, timedelta)
    assert soon <= timedelta(milliseconds=100)
    rows = await bench.rows("SELECT 1 FROM deliveries WHERE state = 'sending'")
    assert len(rows) == 3


async def test_a_duty_that_names_a_time_is_repeated_by_then(house: House) -> None:
    turns = 0
    thrice = asyncio.Event()

    async def turn() -> timedelta:
        nonlocal turns
        turns += 1
        if turns == 3:
            thrice.set()
        return timedelta(milliseconds=1)

    duty = asyncio.create_task(repeat(house.reader.dispatcher, "x", turn, every=timedelta(hours=1)))
    await asyncio.wait_for(thrice.wait(), 30)
    duty.cancel()
    await asyncio.gather(duty, return_exceptions=True)


async def test_what_slows_nothing_any_more_is_forgotten(house: House) -> None:
    bench = house.bench
    await bench.run(
        "INSERT INTO lanes (lane, slow, paused_until, free_at) VALUES"
        " ('idle', false, NULL, now() - interval '2 h'), ('rated', false, NULL, now()),"
        " ('paused', true, now() + interval '1 h', NULL),"
        " ('slow', true, now() - interval '6 days', NULL),"
        " ('dead', true, now() - interval '8 days', NULL), ('empty', false, NULL, NULL)"
    )
    assert await forgetting.run(house.reader.dispatcher) is False
    left = await bench.rows("SELECT lane FROM lanes ORDER BY lane")
    assert [row["lane"] for row in left] == ["paused", "rated", "slow"]


# What looking costs.


async def test_a_lane_with_twenty_thousand_due_costs_what_a_lane_with_one_costs(
    bench: Bench,
) -> None:
    await due(bench, 20_000)
    await due(bench, 1, url="https://well.example/")
    await bench.run("ANALYZE deliveries")
    asked: dict[str, object] = {"free": 100, "slots": 100, "lease": LEASE, "cap": 8, "rate": 100}
    asked |= {"projects": [], "lanes": [], **LIMITS}
    async with bench.database.transaction() as tx:
        (explained,) = await tx.run(b"EXPLAIN (ANALYZE, FORMAT JSON) " + _WAKE, asked)
    nodes = _nodes(explained["QUERY PLAN"][0]["Plan"])
    ours = [node for node in nodes if node.get("Relation Name") == "deliveries"]
    scans = [node for node in ours if "Scan" in str(node["Node Type"])]
    assert len(scans) >= 5
    assert {str(node["Node Type"]) for node in scans} & {"Seq Scan"} == set()
    read = sum(float(str(node["Actual Rows"])) * float(str(node["Actual Loops"])) for node in scans)
    assert read <= 100, "of 20,001"


def _nodes(plan: dict[str, object]) -> list[dict[str, object]]:
    found = [plan]
    inner = plan.get("Plans", [])
    assert isinstance(inner, list)
    for each in inner:
        found += _nodes(each)
    return found


HUNG = TryResult(
    "pending", "timeout", None, timedelta(seconds=15), timedelta(minutes=5), pause=timedelta(0)
)


@pytest.mark.parametrize("together", [True, False])
async def test_tries_that_hang_are_written_together_and_slow_their_destinations(
    bench: Bench, vault: Vault, *, together: bool
) -> None:
    made = await endpoint(bench, vault)
    await finished(bench, webhook_url=JOB_URL)
    woken = await wake(bench)
    for each in woken:
        assert await take(bench, vault, each)
    if together:
        tries = [Tried(*each, datetime.now(UTC), HUNG) for each in woken]
        assert all(each.plain for each in tries)
        written = await deliveries.record_plain(bench.database.direct, PATIENCE, tries)
        assert written.done == [True, True]
    else:
        for each in woken:
            await record(replace(bench, plain=False), each, HUNG)
    project_id = bench.caller.project_id
    names = {destinations.of_endpoint(made.id), destinations.of_origin(project_id, JOB_URL)}
    rows = await bench.rows("SELECT lane FROM lanes WHERE slow AND paused_until <= now()")
    assert {row["lane"] for row in rows} == names
    rows = await bench.rows("SELECT state, tries, next_at > now() AS later FROM deliveries")
    assert [tuple(row.values()) for row in rows] == [("pending", 1, True)] * 2
    (row,) = await bench.rows("SELECT failing_deliveries FROM endpoints")
    assert row["failing_deliveries"] == 1
    rows = await bench.rows("SELECT number, result FROM delivery_tries")
    assert [tuple(row.values()) for row in rows] == [(1, "timeout")] * 2
