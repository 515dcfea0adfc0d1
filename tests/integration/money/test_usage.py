"""The usage report and the ledger's lines: exact, by day of any time zone, and never another project's."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import combinations
from typing import get_args
from uuid import UUID
from zoneinfo import available_timezones

import pytest
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text

from api.contract.requests.budgets import Zone
from models import ids, jobs
from models.accounts import api_keys, callers
from models.errors import InvalidRequest
from models.jobs import Verdict
from models.money import bookings, hours, usage
from models.money.bookings import Selection
from models.money.dollars import usd
from models.money.usage import Dimension, Group, Period, Report, Sums
from models.platform.db import Transaction
from models.platform.db.absences import Busy
from models.platform.vault import Vault
from models.states import SCOPES
from tests.conftest import make_project
from tests.fixtures.making import EMPTY_PAID, IMAGE, PRICE, Bench
from tests.fixtures.zones import NOON

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
EVER = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC))
NOTHING = Sums(*(0 for _ in fields(Sums)))
BERLIN = "Europe/Berlin"


@pytest.fixture
async def other_key(bench: Bench) -> Bench:
    """The same project, with another key."""
    async with bench.database.transaction() as tx:
        key = api_keys.new_key()
        await api_keys.create_key(tx, bench.caller.project_id, "other", tuple(SCOPES), key)
        caller = await callers.caller(tx, key)
    assert caller is not None
    return replace(bench, caller=caller)


async def report(bench: Bench, *by: Dimension, period: Period = EVER) -> Report:
    return await bench.do(lambda tx: usage.report(tx, bench.caller.project_id, period, by))


async def lines(bench: Bench, **chosen: object) -> list[tuple[int, str, int]]:
    selection = Selection(**chosen)  # type: ignore[arg-type] # a test names what it selects
    found, more = await bench.do(
        lambda tx: bookings.lines(tx, bench.caller.project_id, selection, 1000)
    )
    assert not more
    return [(each.attempt, each.kind, each.credits) for each in found]


async def in_pages(bench: Bench, selection: Selection, size: int) -> list[int]:
    """Read the ids of all selected lines, so many at a time."""
    found: list[int] = []
    more = True
    while more:
        page, more = await bench.do(
            partial(
                bookings.lines, project_id=bench.caller.project_id, selection=selection, limit=size
            )
        )
        found += [each.id for each in page]
        selection = replace(selection, before=found[-1] if found else None)
    return found


async def succeed(bench: Bench, **changes: object) -> UUID:
    ref = await bench.running(**changes)
    received = await bench.receive(ref, replace(IMAGE, inference_id=str(ref.job_id)))
    assert received is not None
    assert await bench.succeed(received[1]) is not None
    return ref.job_id


async def live(bench: Bench, other_key: Bench) -> None:
    """Let a project live: every ending, every charge, two keys, customers, tags that overlap."""
    await succeed(bench, tags=("a", "b"), customer="c_1")
    await succeed(other_key, tags=("b",), customer="c_2")
    await succeed(bench, prompt="again", reuse="exact", tags=("a",))
    await other_key.submit(prompt="again", reuse="exact", customer="c_1")
    await bench.refuse(await bench.running(tags=("b", "c")))
    await bench.lose(await other_key.running(tags=("a",), on_unknown_charge="wait"))
    await bench.lose(await bench.running(customer="c_2", on_unknown_charge="fail"))
    await bench.retry_later(await bench.running(), EMPTY_PAID)
    await bench.cancel(await bench.submit())
    await bench.expire(await bench.submit())
    resolved = await bench.running(on_unknown_charge="fail")
    await bench.lose(resolved)
    await bench.resolve(resolved.job_id, credits_=PRICE + 7)
    await bench.running(tags=("c",))


def accepts(zone: str) -> bool:
    try:
        TypeAdapter(Zone).validate_python(zone)
    except ValidationError:
        return False
    return True


def added(groups: list[Group]) -> Sums:
    return Sums(*(sum(getattr(each.sums, f.name) for each in groups) for f in fields(Sums)))


async def test_the_totals_say_what_happened(bench: Bench, other_key: Bench) -> None:
    await live(bench, other_key)
    assert (await report(bench)) == Report(
        [],
        Sums(
            submitted=12, succeeded=4, failed=3, canceled=1, expired=1, attempts=9,
            charged=5 * PRICE + 7, unknown=2 * PRICE, held=4 * PRICE, saved=PRICE,
        ),
    )  # fmt: skip
    assert await bench.audit() == []


async def test_the_totals_equal_the_ledger_to_the_credit(bench: Bench, other_key: Bench) -> None:
    await live(bench, other_key)
    (booked,) = await bench.rows(
        "SELECT sum(credits) FILTER (WHERE kind IN ('hold', 'release')) AS held,"
        " sum(credits) FILTER (WHERE kind NOT IN ('hold', 'release')) AS charged FROM ledger"
    )
    totals = (await report(bench)).totals
    assert (totals.held, totals.charged) == (booked["held"], booked["charged"])
    everything = [credits_ for _, _, credits_ in await lines(bench)]
    assert totals.held + totals.charged == sum(everything)


async def test_every_grouping_adds_up_to_the_same_totals(bench: Bench, other_key: Bench) -> None:
    await live(bench, other_key)
    totals = (await report(bench)).totals
    for size in range(1, len(DIMENSIONS) + 1):
        for by in combinations(DIMENSIONS, size):
            found = await report(bench, *by)
            assert found.totals == totals, by
            assert len({each.values for each in found.groups}) == len(found.groups), by
            if "tag" not in by:
                assert added(found.groups) == totals, by


async def test_groups_come_in_the_order_asked_for_with_those_of_no_value_last(
    bench: Bench, other_key: Bench
) -> None:
    await live(bench, other_key)
    period = replace(EVER, zone=NOON)
    today = (await report(bench, "day", period=period)).groups[0].values[0]
    found = await report(bench, "customer", "day", period=period)
    assert [each.values for each in found.groups] == [
        ("c_1", today), ("c_2", today), (None, today),
    ]  # fmt: skip
    keys = {each.values[0] for each in (await report(bench, "key")).groups}
    assert keys == {bench.caller.key_id, other_key.caller.key_id}


async def test_a_job_counts_under_each_of_its_tags_and_once_in_the_totals(bench: Bench) -> None:
    await succeed(bench, tags=("a", "b"))
    await succeed(bench, tags=("b", "b"))
    await succeed(bench)
    found = await report(bench, "tag")
    assert {each.values[0]: each.sums.charged for each in found.groups} == {
        "a": PRICE, "b": 2 * PRICE, None: PRICE,
    }  # fmt: skip
    assert found.totals.charged == 3 * PRICE
    assert found.totals.submitted == 3


async def test_each_project_sees_its_own(bench: Bench, other_key: Bench, vault: Vault) -> None:
    theirs = Bench(
        bench.database, bench.presenter, (await make_project(bench.database, vault, "else"))[0]
    )
    await live(bench, other_key)
    before = await report(bench, *DIMENSIONS)
    assert await report(theirs, *DIMENSIONS) == Report([], NOTHING)
    assert await lines(theirs) == []
    await succeed(theirs, tags=("a",), customer="c_1")
    assert (await report(theirs)).totals.charged == PRICE
    assert await report(bench, *DIMENSIONS) == before
    assert await lines(theirs, job_id=None, key_id=bench.caller.key_id) == []


async def test_a_project_without_jobs_has_totals_of_nothing(bench: Bench) -> None:
    for by in ((), ("day",), DIMENSIONS):
        assert await report(bench, *by) == Report([], NOTHING)


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        # 2026-03-29 has 23 hours in Berlin, 2026-10-25 has 25.
        (BERLIN, "2026-03-28 22:59:59.999999+00", date(2026, 3, 28)),
        (BERLIN, "2026-03-28 23:00:00+00", date(2026, 3, 29)),
        (BERLIN, "2026-03-29 21:59:59.999999+00", date(2026, 3, 29)),
        (BERLIN, "2026-03-29 22:00:00+00", date(2026, 3, 30)),
        (BERLIN, "2026-10-24 21:59:59.999999+00", date(2026, 10, 24)),
        (BERLIN, "2026-10-24 22:00:00+00", date(2026, 10, 25)),
        (BERLIN, "2026-10-25 22:59:59.999999+00", date(2026, 10, 25)),
        (BERLIN, "2026-10-25 23:00:00+00", date(2026, 10, 26)),
        # Here the hour after midnight is the one that is left out: the day begins at one.
        ("America/Santiago", "2023-09-03 03:59:59+00", date(2023, 9, 2)),
        ("America/Santiago", "2023-09-03 04:00:00+00", date(2023, 9, 3)),
        ("Asia/Kathmandu", "2026-06-01 18:14:59+00", date(2026, 6, 1)),
        ("Asia/Kathmandu", "2026-06-01 18:15:00+00", date(2026, 6, 2)),
        ("UTC", "2026-03-28 23:59:59.999999+00", date(2026, 3, 28)),
    ],
)
async def test_a_moment_belongs_to_the_day_that_people_there_call_it(
    bench: Bench, zone: str, moment: str, day: date
) -> None:
    job = await succeed(bench)
    stamped = {"id": job, "at": datetime.fromisoformat(moment)}
    await bench.run("UPDATE jobs SET created_at = :at, finished_at = :at WHERE id = :id", **stamped)
    await bench.run("UPDATE attempts SET sent_at = :at WHERE job_id = :id", **stamped)
    await bench.run("UPDATE ledger SET at = :at WHERE job_id = :id", **stamped)
    (group,) = (await report(bench, "day", period=replace(EVER, zone=zone))).groups
    assert group.values == (day,)
    assert (group.sums.submitted, group.sums.succeeded, group.sums.attempts) == (1, 1, 1)
    assert group.sums.charged == PRICE


async def test_postgres_knows_every_zone_that_the_api_takes(bench: Bench) -> None:
    known = {row["name"] for row in await bench.rows("SELECT name FROM pg_timezone_names")}
    taken = {name for name in available_timezones() | {"localtime"} if accepts(name)}
    assert BERLIN in taken
    assert taken - known == set()


async def test_a_zone_that_only_postgres_does_not_know_is_refused(bench: Bench) -> None:
    await bench.submit()
    with pytest.raises(InvalidRequest) as refused:
        await report(bench, "day", period=replace(EVER, zone="Moon/Tycho"))
    assert [each.pointer for each in refused.value.errors] == ["query:tz"]


async def test_each_thing_counts_when_it_happened(bench: Bench) -> None:
    job = await succeed(bench)
    at = {f"d{day}": datetime(2026, 5, day, 12, tzinfo=UTC) for day in range(1, 5)}
    await bench.run(
        "UPDATE jobs SET created_at = :d1, finished_at = :d3 WHERE id = :id", id=job,
        d1=at["d1"], d3=at["d3"],
    )  # fmt: skip
    await bench.run("UPDATE attempts SET sent_at = :d2 WHERE job_id = :id", id=job, d2=at["d2"])
    await bench.run("UPDATE ledger SET at = :d4 WHERE job_id = :id", id=job, d4=at["d4"])
    found = {each.values[0]: each.sums for each in (await report(bench, "day")).groups}
    assert found == {
        date(2026, 5, 1): replace(NOTHING, submitted=1),
        date(2026, 5, 2): replace(NOTHING, attempts=1),
        date(2026, 5, 3): replace(NOTHING, succeeded=1),
        date(2026, 5, 4): replace(NOTHING, charged=PRICE),
    }


async def test_a_charge_that_is_found_late_counts_when_it_was_made(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref)
    made = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    await bench.do(
        lambda tx: jobs.resolve(tx, bench.presenter, ref.job_id, 1, Verdict(PRICE, "inf-9", made))
    )
    that_day = Period(made.replace(hour=0), made.replace(hour=0) + timedelta(days=1))
    assert (await report(bench, period=that_day)).totals == replace(NOTHING, charged=PRICE)
    assert await lines(bench, start=that_day.start, end=that_day.end) == [(1, "charge", PRICE)]


async def test_a_period_has_its_first_moment_and_not_its_last(bench: Bench) -> None:
    first = datetime(2026, 5, 1, tzinfo=UTC)
    # Its id is of that time too, by a clock that is half an hour behind.
    made = ids.first_at(first - timedelta(minutes=30))
    await bench.change(await bench.submit(), f"created_at = '{first}', id = '{made}'")
    tick = timedelta(microseconds=1)
    for period, counted in (
        (Period(first, first + tick), 1),
        (Period(first - tick, first), 0),
        (Period(first + tick, first + 2 * tick), 0),
    ):
        assert (await report(bench, period=period)).totals.submitted == counted


async def test_a_call_under_way_is_held_and_becomes_unknown_only_by_its_end(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    totals = (await report(bench)).totals
    assert (totals.attempts, totals.held, totals.unknown) == (1, PRICE, 0)
    await bench.lose(ref)
    totals = (await report(bench)).totals
    assert (totals.held, totals.unknown, totals.charged) == (PRICE, PRICE, 0)
    await bench.resolve(ref.job_id)
    totals = (await report(bench)).totals
    assert (totals.held, totals.unknown, totals.charged) == (0, 0, 0)


async def test_a_refund_takes_from_what_was_charged(bench: Bench) -> None:
    job = await succeed(bench)
    await bench.run(
        "INSERT INTO ledger (project_id, key_id, job_id, attempt, kind, credits)"
        " SELECT project_id, key_id, id, 1, 'refund', -1000 FROM jobs WHERE id = :id", id=job,
    )  # fmt: skip
    assert (await report(bench)).totals.charged == PRICE - 1000


async def test_a_report_of_too_many_rows_is_refused(bench: Bench) -> None:
    job = await bench.submit()
    await bench.run(
        "INSERT INTO ledger (project_id, key_id, customer, job_id, attempt, kind, credits)"
        " SELECT project_id, key_id, 'c' || n, id, n, 'charge', 1"
        " FROM jobs, generate_series(1, 10001) n WHERE id = :id", id=job,
    )  # fmt: skip
    with pytest.raises(InvalidRequest) as refused:
        await report(bench, "customer")
    assert [each.pointer for each in refused.value.errors] == ["query:group_by"]
    assert (await report(bench)).totals.charged == 10_001
    await bench.run("DELETE FROM ledger WHERE customer IN ('c1', 'c2')")
    assert len((await report(bench, "customer")).groups) == 10_000


async def test_a_report_that_counts_too_many_jobs_one_by_one_says_so(bench: Bench) -> None:
    async def ask(tx: Transaction, by: Sequence[Dimension]) -> None:
        await tx.execute(text("SET LOCAL statement_timeout = '100ms'"))
        await usage.report(tx, bench.caller.project_id, EVER, by)

    await bench.submit()
    assert await bench.do(lambda tx: hours.fold(tx, timedelta(0)))
    async with bench.database.transaction() as other:
        await other.execute(text("LOCK TABLE ledger"))  # it takes as long as one likes
        with pytest.raises(InvalidRequest, match="ask for a shorter time") as refused:
            await bench.do(lambda tx: ask(tx, ["tag"]))
        with pytest.raises(Busy):
            await bench.do(lambda tx: ask(tx, []))
    assert [each.pointer for each in refused.value.errors] == ["query:from"]


async def test_lines_come_newest_first_and_as_selected(bench: Bench, other_key: Bench) -> None:
    first = await succeed(bench, customer="c_1")
    second = await other_key.submit(prompt="another", customer="c_2")
    booked = [(1, "hold", PRICE), (1, "charge", PRICE), (1, "release", -PRICE), (1, "hold", PRICE)]
    assert await lines(bench) == booked
    assert await lines(bench, job_id=first) == booked[1:]
    assert await lines(bench, key_id=other_key.caller.key_id) == booked[:1]
    assert await lines(bench, customer="c_1", kind="charge") == booked[1:2]
    assert await lines(bench, customer="c_2", job_id=second) == booked[:1]
    assert await lines(bench, job_id=second, kind="charge") == []


async def test_pages_give_every_line_once_and_hold_nothing_between_them(bench: Bench) -> None:
    job = await bench.submit()
    more = (
        "INSERT INTO ledger (project_id, key_id, job_id, attempt, kind, credits)"
        " SELECT project_id, key_id, id, n, 'charge', n"
        " FROM jobs, generate_series(CAST(:least AS int), CAST(:most AS int)) n WHERE id = :id"
    )
    await bench.run(more, id=job, least=1, most=2_500)
    sizes: list[int] = []
    credits_: list[int] = []
    async for page in bookings.pages(
        bench.database.transaction, bench.caller.project_id, Selection()
    ):
        await bench.run(more, id=job, least=10_000 + len(sizes), most=10_000 + len(sizes))
        (open_,) = await bench.rows(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        assert open_["n"] == 0
        sizes.append(len(page))
        credits_ += [each.credits for each in page]
    assert sizes == [1_000, 1_000, 501]
    assert credits_ == [*range(2_500, 0, -1), PRICE]


async def test_lines_of_a_time_are_those_made_in_it_whenever_they_were_booked(bench: Bench) -> None:
    """Three days, a line every ten minutes; each fifth charge was found out later, up to a day."""
    job, other = await bench.submit(), await bench.submit(prompt="another")
    await bench.run("DELETE FROM ledger")
    await bench.run(
        "INSERT INTO ledger (at, made_at, project_id, key_id, job_id, attempt, kind, credits)"
        " SELECT at, CASE WHEN n % 5 = 0 THEN at - n % 24 * interval '1 hour' END, project_id, key_id, id,"
        " n, CASE n % 2 WHEN 0 THEN 'charge' ELSE 'hold' END, n"
        " FROM jobs, generate_series(1, 432) n,"
        " LATERAL (SELECT timestamptz '2026-05-01 00:00Z' + n * interval '10 minutes' AS at) booked"
        " WHERE id = CASE n % 3 WHEN 0 THEN CAST(:other AS uuid) ELSE CAST(:id AS uuid) END ORDER BY n",
        id=job, other=other,
    )  # fmt: skip
    of_time = (
        "coalesce(made_at, at) >= coalesce(CAST(:start AS timestamptz), '-infinity')"
        " AND coalesce(made_at, at) < coalesce(CAST(:end AS timestamptz), 'infinity')"
    )
    selections = {
        "true": Selection(),
        "kind = 'hold'": Selection(kind="hold"),
        f"job_id = '{job}'": Selection(job_id=job),
    }
    times = [datetime(2026, 5, 1, tzinfo=UTC) + n * timedelta(hours=13) for n in range(-1, 7)]
    for start, end in combinations((None, *times, None), 2):
        for so, narrowed in selections.items():
            selected = f"SELECT id FROM ledger WHERE {of_time} AND {so} ORDER BY id DESC"  # noqa: S608
            booked = await bench.rows(selected, start=start, end=end)
            found = await in_pages(bench, replace(narrowed, start=start, end=end), 50)
            assert found == [each["id"] for each in booked]


async def test_pages_of_nothing_are_one_empty_page(bench: Bench) -> None:
    found = bookings.pages(bench.database.transaction, bench.caller.project_id, Selection())
    assert [page async for page in found] == [[]]


@pytest.mark.parametrize(
    ("credits_", "written"),
    [
        (0, "0.00"),
        (1, "0.0000005"),
        (-1, "-0.0000005"),
        (19_999, "0.0099995"),
        (20_000, "0.01"),
        (91_000, "0.0455"),
        (100_000, "0.05"),
        (2_000_000, "1.00"),
        (-91_000, "-0.0455"),
        (3_000_000, "1.50"),
        (123_456_789_012_345_678, "61728394506.172839"),
        ((1 << 63) - 1, "4611686018427.3879035"),
    ],
)
def test_dollars_are_exact(credits_: int, written: str) -> None:
    assert usd(credits_) == written
