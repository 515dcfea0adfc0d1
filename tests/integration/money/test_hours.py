"""Folded hours: every report is what it would be without them, whatever is folded and whenever."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from uuid import UUID

import pytest
from celery import Celery
from prometheus_client import REGISTRY
from sqlalchemy import text

from models import ids, jobs
from models.jobs import Verdict, retention
from models.jobs.charges.restoring import Call, recall
from models.money import audit, hours, usage
from models.money.usage import Dimension, Period, Report
from models.platform.db import Transaction
from models.platform.doorbell import Doorbell
from models.settings import Settings
from tests.conftest import make_project
from tests.fixtures.making import IMAGE, LOST, PRICE, Bench
from tests.integration.money.test_usage import DIMENSIONS, live, other_key, report, succeed
from worker.dispatcher.duties import folding, measuring
from worker.dispatcher.duty import Dispatcher

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

__all__ = ["other_key"]  # a fixture

NOW, HOUR, DAY = timedelta(0), timedelta(hours=1), timedelta(days=1)
FIRST = datetime(2026, 3, 27, 5, tzinfo=UTC)  # Berlin's clocks change two days later
OVER = FIRST + 2 * DAY  # all that was scattered within a day
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe")
_IDS = (
    ("attempts", "job_id"), ("images", "job_id"), ("ledger", "job_id"), ("events", "job_id"),
    ("deliveries", "job_id"), ("jobs", "leader_id"), ("jobs", "reused_from"), ("jobs", "id"),
)  # fmt: skip


async def scatter(bench: Bench, dice: random.Random, *, within: timedelta = DAY) -> None:
    """Let all that is there have begun in some order, within this time of the past.

    A day later all of it is over.
    """
    found = await bench.rows("SELECT id FROM jobs")

    async def move(tx: Transaction) -> None:
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        for row in found:
            created = FIRST + dice.random() * within
            made = ids.first_at(created + dice.uniform(-0.9, 0.9) * HOUR)
            moved = UUID(int=made.int | dice.getrandbits(60))
            for table, column in _IDS:
                await tx.execute(
                    text(f"UPDATE {table} SET {column} = :new WHERE {column} = :old"),  # noqa: S608
                    {"new": moved, "old": row["id"]},
                )
            values = {"id": moved, "at": created, "seed": dice.random()}
            for statement in _MOVES:
                await tx.execute(text(statement), values)

    await bench.do(move)


# A charge is booked at its end, and made up to two days before. Some things happen on the stroke.
_MOVES = (
    """UPDATE jobs SET created_at = :at,
              finished_at = CASE WHEN finished_at IS NOT NULL THEN :at + :seed * interval '20 hours' END
        WHERE id = :id""",
    """UPDATE attempts SET sent_at = CASE
              WHEN number = 1 AND :seed < 0.3 THEN date_trunc('hour', :at + interval '1 hour')
              ELSE :at + number * :seed * interval '5 hours' END
        WHERE job_id = :id""",
    """UPDATE ledger SET at = CASE
              WHEN kind = 'charge' AND :seed < 0.3 THEN date_trunc('hour', :at + interval '9 hours')
              ELSE :at + attempt * :seed * interval '9 hours' END
        WHERE job_id = :id""",
    """UPDATE ledger SET made_at = at - :seed * interval '2 days'
        WHERE job_id = :id AND kind = 'charge' AND :seed > 0.5""",
)


_FOLDED_UNTIL = hours.folded_until


async def begin_at(bench: Bench, moment: datetime) -> None:
    """Let folding begin with the hour that begins then, as it would have when the first job came."""
    await bench.run(
        "INSERT INTO duties (name, done_at) VALUES ('fold', :at)"
        " ON CONFLICT (name) DO UPDATE SET done_at = :at", at=moment,
    )  # fmt: skip


async def fold(bench: Bench, most: int = 1_000, until: datetime | None = None) -> int:
    """Fold up to so many hours, none after `until`; returns how many."""

    async def one(tx: Transaction) -> bool:
        at = await _FOLDED_UNTIL(tx)
        return not (until and at and at >= until) and await hours.fold(tx, NOW)

    for done in range(most):
        if not await bench.do(one):
            return done
    return most


def periods() -> Iterator[Period]:
    odd = timedelta(hours=7, minutes=41, seconds=3)
    times = [
        (FIRST - 3 * DAY, FIRST + 9 * DAY),
        (FIRST + odd, FIRST + 3 * DAY + odd),
        (FIRST + 5 * HOUR, FIRST + 2 * DAY),
        (FIRST + odd, FIRST + odd + timedelta(minutes=50)),
        (FIRST + odd, FIRST + odd + 2 * HOUR),
        (FIRST - 9 * DAY, FIRST - 8 * DAY),
    ]
    return (Period(start, end, zone) for (start, end), zone in product(times, ZONES))


async def reports(bench: Bench) -> dict[object, Report]:
    """Make many reports: of every sort of time, in several zones, by each two dimensions."""
    few: list[tuple[Dimension, ...]] = [(), ("day",), ("customer", "day")]
    many = [*few, *((each,) for each in DIMENSIONS), *combinations(DIMENSIONS, 2)]
    many.append(("day", "key", "model", "customer"))
    return {
        (period, by): await report(bench, *by, period=period)
        for period in periods()
        for by in (many if period.zone == "Europe/Berlin" else few)
    }


@pytest.mark.parametrize("seed", range(1))
async def test_folding_changes_no_report(bench: Bench, other_key: Bench, seed: int) -> None:
    await live(bench, other_key)
    dice = random.Random(seed)  # noqa: S311 - a test's
    await scatter(bench, dice, within=4 * DAY)
    expected = await reports(bench)
    assert sum(each.totals.charged for each in expected.values()) > 0
    await begin_at(bench, FIRST - HOUR)
    for most in (1, 30, dice.randint(1, 60)):
        assert await fold(bench, most) == most
        assert await reports(bench) == expected
    await fold(bench, until=FIRST + 10 * DAY)
    assert await reports(bench) == expected
    assert [each.message for each in await audit.audit(bench.database)] == []


async def test_a_report_that_begins_within_an_hour_counts_what_came_after(bench: Bench) -> None:
    await succeed(bench)
    await scatter(bench, random.Random(9))  # noqa: S311 - a test's
    (row,) = await bench.rows("SELECT created_at, finished_at FROM jobs")
    tick = timedelta(microseconds=1)
    times = [row["created_at"] + tick, row["created_at"], row["finished_at"] + tick]
    times += [hours.whole(row["created_at"]), hours.whole(row["finished_at"]) + HOUR]
    begun = [Period(each, each + 2 * DAY) for each in times]
    ended_ = [Period(each - 2 * DAY, each) for each in times]
    expected = [await report(bench, period=each) for each in begun + ended_]
    await begin_at(bench, FIRST - HOUR)
    await fold(bench, until=OVER)
    assert [await report(bench, period=each) for each in begun + ended_] == expected


async def test_hours_are_what_is_read(bench: Bench) -> None:
    await succeed(bench, customer="c_1")
    await scatter(bench, random.Random(1))  # noqa: S311 - a test's
    month = Period(FIRST - DAY, FIRST + 29 * DAY)
    before = await report(bench, "day", "customer", period=month)
    await begin_at(bench, FIRST - HOUR)
    await fold(bench, until=OVER)
    await bench.run("DELETE FROM attempts")
    assert await report(bench, "day", "customer", period=month) == before
    kept = await bench.rows("SELECT sum(submitted) AS n, sum(charged) AS paid FROM usage_hours")
    assert [(row["n"], row["paid"]) for row in kept] == [(1, PRICE)]


async def test_what_is_found_late_goes_to_the_hour_in_which_it_was_made(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail", customer="c_1")
    await bench.lose(ref)
    stroke = hours.whole(datetime.now(UTC))
    await begin_at(bench, stroke - 3 * HOUR)
    assert await fold(bench, until=stroke) == 3
    made = stroke - 2 * HOUR + timedelta(minutes=7)
    await bench.do(
        lambda tx: jobs.resolve(tx, bench.presenter, ref.job_id, 1, Verdict(PRICE, "inf-9", made))
    )
    hour = Period(hours.whole(made), hours.whole(made) + HOUR)
    assert (await report(bench, period=hour)).totals.charged == PRICE
    # As if it had been found in the last hour, and then that was folded.
    found = stroke - timedelta(minutes=7)
    await bench.run("UPDATE ledger SET at = :at WHERE kind = 'charge'", at=found)
    await begin_at(bench, stroke - HOUR)
    assert await fold(bench, until=stroke) == 1
    assert (await report(bench, period=hour)).totals.charged == PRICE
    (row,) = await bench.rows("SELECT hour, customer, charged FROM usage_hours WHERE charged > 0")
    assert (row["hour"], row["customer"], row["charged"]) == (hour.start, "c_1", PRICE)
    assert await audit.audit(bench.database) == []


async def test_a_call_that_a_restore_finds_counts_when_it_was_made(bench: Bench) -> None:
    job = await bench.submit()
    stroke = hours.whole(datetime.now(UTC))
    await begin_at(bench, stroke - 5 * HOUR)
    assert await fold(bench, until=stroke) == 5
    made = stroke - 3 * HOUR + timedelta(minutes=7)
    calls = [Call(number, PRICE, f"inf-{number}", made, "simulato") for number in (1, 2)]
    await bench.do(lambda tx: recall(tx, bench.presenter, job, calls, paused_at=datetime.now(UTC)))
    hour = Period(hours.whole(made), hours.whole(made) + HOUR)
    totals = (await report(bench, period=hour)).totals
    assert (totals.attempts, totals.charged) == (2, 2 * PRICE)
    assert (await report(bench)).totals.attempts == 2


async def test_what_is_held_or_unknown_is_as_it_is_now(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    waiting = await bench.submit()
    await scatter(bench, random.Random(2))  # noqa: S311 - a test's
    await begin_at(bench, FIRST - HOUR)
    await fold(bench, until=OVER)
    (lost, *_) = [each["id"] for each in await bench.rows("SELECT id FROM jobs WHERE attempt = 1")]
    assert (await report(bench)).totals.held == 2 * PRICE
    await bench.do(lambda tx: jobs.lose(tx, bench.presenter, replace(ref, job_id=lost), LOST))
    totals = (await report(bench)).totals
    assert (totals.held, totals.unknown) == (2 * PRICE, PRICE)
    await bench.resolve(lost)
    (left,) = [each["id"] for each in await bench.rows("SELECT id FROM jobs WHERE attempt = 0")]
    assert left != waiting, "its id is of the past"
    await bench.cancel(left)
    totals = (await report(bench)).totals
    assert (totals.held, totals.unknown, totals.canceled) == (0, 0, 1)


async def test_an_erased_jobs_tags_are_in_no_hour(bench: Bench) -> None:
    await succeed(bench, tags=("for-mary",), customer="c_1")
    await scatter(bench, random.Random(4))  # noqa: S311 - a test's
    await begin_at(bench, FIRST - HOUR)
    await fold(bench, until=OVER)
    (row,) = await bench.rows("SELECT id FROM jobs")
    await bench.run("DELETE FROM events")  # they name it as it was before it was moved
    await bench.do(lambda tx: jobs.erase(tx, bench.caller.project_id, row["id"]))
    assert [each.values for each in (await report(bench, "tag")).groups] == [(None,)]
    kept = await bench.rows("SELECT t::text AS text FROM usage_hours t")
    assert kept
    assert not any("mary" in row["text"] for row in kept)


async def test_what_was_folded_outlives_its_jobs(bench: Bench) -> None:
    await succeed(bench, customer="c_1")
    await scatter(bench, random.Random(3))  # noqa: S311 - a test's
    await begin_at(bench, FIRST - HOUR)
    await fold(bench, until=OVER)
    before = await report(bench, "day", "model", "customer")
    await bench.run("DELETE FROM deliveries")
    assert await bench.do(lambda tx: retention.remove_jobs(tx, DAY, 10)) == 1
    assert await report(bench, "day", "model", "customer") == before


async def test_an_hour_waits_for_every_transaction_that_may_still_write_into_it(
    bench: Bench,
) -> None:
    await bench.submit()
    await begin_at(bench, hours.whole(datetime.now(UTC)) + HOUR)  # the next one, as if it were over
    async with bench.database.transaction() as old:
        await old.execute(text("SELECT 1"))
        assert not await bench.do(lambda tx: hours.fold(tx, -2 * HOUR))
    assert await bench.do(lambda tx: hours.fold(tx, -2 * HOUR))


async def test_folding_begins_before_the_first_job_and_ends_with_the_last_full_hour(
    bench: Bench,
) -> None:
    assert await fold(bench) == 0
    first = (await bench.job(await bench.submit()))["created_at"]
    assert await bench.do(lambda tx: hours.fold(tx, NOW))
    assert await bench.do(hours.folded_until) == hours.whole(first), "the hour before it"
    await fold(bench)
    assert await bench.do(hours.folded_until) in {hours.whole(first), hours.whole(first) + HOUR}
    assert not await bench.do(lambda tx: hours.fold(tx, NOW))
    age = await bench.do(hours.age)
    assert age is not None
    assert NOW <= age < HOUR


async def test_a_dispatcher_folds_what_has_been_over_for_ten_minutes_and_tells_how_far_it_is(
    bench: Bench, settings: Settings
) -> None:
    doorbell = Doorbell(settings.redis_url.get_secret_value())
    dispatcher = Dispatcher(settings, "d1", bench.database, doorbell, Celery(), bench.presenter)
    assert not await folding.run(dispatcher), "there is nothing yet"
    await succeed(bench)
    ended = "UPDATE duties SET done_at = now() - interval '1 hour' - CAST(:ago AS interval)"
    for ago, more in ((timedelta(minutes=9), False), (timedelta(minutes=11), True)):
        await bench.run(ended, ago=ago)
        assert await folding.run(dispatcher) == more
    await bench.run(ended, ago=5 * HOUR)
    await measuring.run(dispatcher)
    age = REGISTRY.get_sample_value("darkroom_usage_folded_age_seconds")
    assert age is not None
    assert timedelta(seconds=age) >= 6 * HOUR


async def test_many_who_fold_fold_each_hour_once(bench: Bench, other_key: Bench) -> None:
    await live(bench, other_key)
    await scatter(bench, random.Random(5))  # noqa: S311 - a test's
    expected = await report(bench, "day", "key")
    await begin_at(bench, FIRST - HOUR)

    async def look() -> None:
        for _ in range(20):
            assert await report(bench, "day", "key") == expected

    await asyncio.gather(*(fold(bench, 13) for _ in range(4)), look(), look())
    assert await bench.do(hours.folded_until) == FIRST + 51 * HOUR
    assert await report(bench, "day", "key") == expected
    assert await audit.audit(bench.database) == []


async def test_an_hour_that_is_folded_while_a_report_is_made_counts_once(
    bench: Bench, other_key: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(bench, other_key)
    await scatter(bench, random.Random(7))  # noqa: S311 - a test's
    month = Period(FIRST - 3 * DAY, FIRST + 9 * DAY)
    expected = await report(bench, "day", "key", period=month)
    await begin_at(bench, FIRST - HOUR)
    read, looks = _FOLDED_UNTIL, 0

    async def fold_behind_its_back(tx: Transaction) -> datetime | None:
        nonlocal looks
        looks, until = looks + 1, await read(tx)
        if looks % 2:  # a second look finds what it says
            await fold(bench, 1, OVER)
        return until

    monkeypatch.setattr(hours, "folded_until", fold_behind_its_back)
    while await bench.do(read) != OVER:
        assert await report(bench, "day", "key", period=month) == expected


async def test_an_hour_whose_folding_dies_is_folded_again(bench: Bench, other_key: Bench) -> None:
    await live(bench, other_key)
    await scatter(bench, random.Random(6))  # noqa: S311 - a test's
    expected = await report(bench, "day")
    await begin_at(bench, FIRST - HOUR)

    async def die(tx: Transaction) -> None:
        await hours.fold(tx, NOW)
        raise ConnectionError

    while await fold(bench, 1, OVER):
        with pytest.raises(ConnectionError):
            await bench.do(die)
    assert await report(bench, "day") == expected
    assert await audit.audit(bench.database) == []


async def test_the_audit_sees_a_credit_too_many(bench: Bench) -> None:
    theirs = await make_project(bench.database, bench.presenter.vault, "else")
    await succeed(bench)
    await scatter(bench, random.Random(8))  # noqa: S311 - a test's
    await begin_at(bench, FIRST - HOUR)
    await fold(bench, until=OVER)
    assert await audit.audit(bench.database) == []
    await bench.run("UPDATE usage_hours SET charged = charged + 1 WHERE charged > 0")
    (found,) = await audit.audit(bench.database)
    assert found.about == ids.text(ids.PROJECT, bench.caller.project_id)
    assert found.message == f"its folded hours charge {PRICE + 1}, the ledger {PRICE}"
    assert theirs[0].project_id != bench.caller.project_id
    await bench.run("UPDATE usage_hours SET charged = charged - 1 WHERE charged > 0")
    assert await audit.audit(bench.database) == []
    await bench.run("UPDATE usage_totals SET attempts = attempts + 1 WHERE charged > 0")
    (found,) = await audit.audit(bench.database)
    assert found.message == "1 of its hours without customers are not the sums of its hours"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Auckland", "Moon/Tycho"])
async def test_the_ends_of_time_can_be_asked_about(bench: Bench, zone: str) -> None:
    await succeed(bench)
    await begin_at(bench, hours.whole(datetime.now(UTC)))
    await bench.do(lambda tx: hours.fold(tx, -HOUR))
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for start, end in ((first, first + DAY), (last - DAY, last), (first, last)):
        found = await report(bench, "key", period=Period(start, end, zone))
        assert found.totals.charged == (PRICE if (start, end) == (first, last) else 0)
        if zone != "Moon/Tycho":
            assert (
                await report(bench, "day", period=Period(start, end, zone))
            ).totals == found.totals


async def test_only_zones_whose_days_begin_with_an_hour_are_read_by_the_hour(bench: Bench) -> None:
    ref = await bench.running()
    await bench.receive(ref, IMAGE)
    assert [usage.by_the_hour(Period(FIRST, FIRST + 9 * DAY, zone)) for zone in ZONES] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not usage.by_the_hour(Period(FIRST, FIRST + DAY, "Moon/Tycho"))
