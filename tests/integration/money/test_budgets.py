"""Budgets: checked and held in one statement, kept equal to the ledger, in their own time zone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text

from models import jobs
from models.accounts import api_keys, callers
from models.errors import BudgetExceeded, LimitReached, NotFound
from models.money import budgets
from models.money.audit import audit
from models.money.budgets import BudgetState, Rule
from models.platform.db import Database, Transaction
from models.platform.vault import Vault
from models.schema import Job
from tests.conftest import make_project
from tests.fixtures.making import LOST, PRICE, Bench
from tests.fixtures.zones import NOON

TOTAL = Rule("project", "total", "UTC", 10 * PRICE, "hard")


async def put(bench: Bench, rule: Rule) -> BudgetState:
    return await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))


async def standing(bench: Bench) -> BudgetState:
    return (await bench.do(lambda tx: budgets.standings(tx, bench.caller.project_id)))[0]


def room_for(count: int, **changes: object) -> Rule:
    values: dict[str, object] = {
        "scope": "project", "window": "total", "timezone": NOON,
        "limit": count * PRICE + 1, "mode": "hard",
    }  # fmt: skip
    return Rule(**(values | changes))  # type: ignore[arg-type] # a test names what it changes


async def test_a_budget_with_room_for_one_accepts_one_of_a_hundred(bench: Bench) -> None:
    await put(bench, room_for(1))
    answers = await asyncio.gather(
        *(bench.submit(prompt=f"fox {n}") for n in range(100)), return_exceptions=True
    )
    assert sum(isinstance(each, UUID) for each in answers) == 1
    assert sum(isinstance(each, BudgetExceeded) for each in answers) == 99
    assert len(await bench.rows("SELECT id FROM jobs")) == 1
    assert len(await bench.rows("SELECT id FROM ledger")) == 1
    now = await standing(bench)
    assert (now.held, now.spent, now.left) == (PRICE, 0, 1)
    assert await bench.audit() == []


async def test_what_is_folded_is_planned_for_a_whole_ledger(bench: Bench) -> None:
    """Where it is not, no table may be read whole, and none joined for what is given (`PLANNED_ONCE`)."""
    told = b"SELECT current_setting('plan_cache_mode') AS mode, current_setting('enable_seqscan') AS scan"
    direct = bench.database.direct
    async with direct.transaction() as tx:
        await budgets.put(tx, bench.caller.project_id, TOTAL)
        assert await tx.run(told, {}) == [{"mode": "auto", "scan": "on"}]
    assert await direct.read(told, {}) == [{"mode": "force_generic_plan", "scan": "off"}]


async def test_a_budget_may_be_deleted_while_what_it_watches_is_booked(bench: Bench) -> None:
    refs = [await bench.running(prompt=f"fox {n}") for n in range(60)]
    booked = asyncio.Event()

    async def come_and_go() -> int:
        times = 0
        while not booked.is_set():
            made = await put(bench, room_for(99))
            await bench.do(partial(_remove, bench, made.budget.id))
            times += 1
        return times

    async def book() -> None:
        for start in range(0, len(refs), 6):
            some = refs[start : start + 6]
            assert await asyncio.gather(*(bench.receive(each) for each in some)) == [
                ("keep", each) for each in some
            ]

    coming = asyncio.create_task(come_and_go())
    try:
        await book()
    finally:
        booked.set()
    assert await coming > 3
    assert {row["charged"] for row in await bench.rows("SELECT charged FROM jobs")} == {PRICE}
    assert await bench.audit() == []


async def test_without_its_last_budget_a_project_is_as_before(bench: Bench) -> None:
    made = [await put(bench, room_for(9)), await put(bench, room_for(9, window="day"))]
    budgeted = []
    for each in made:
        await bench.do(partial(_remove, bench, each.budget.id))
        budgeted += [row["budgeted"] for row in await bench.rows("SELECT budgeted FROM projects")]
    assert budgeted == [True, False]


async def _remove(bench: Bench, budget_id: UUID, tx: Transaction) -> None:
    await budgets.remove(tx, bench.caller.project_id, budget_id)


async def test_a_refusal_names_the_budget_and_what_is_left(bench: Bench) -> None:
    await put(bench, Rule("project", "month", NOON, PRICE - 1, "hard"))
    with pytest.raises(BudgetExceeded) as refused:
        await bench.submit()
    assert "month budget of this project" in refused.value.detail
    assert "90,999 of 90,999 credits left" in refused.value.detail
    assert refused.value.extra["budget"]["left"] == PRICE - 1  # type: ignore[index] # a dict


async def test_a_charge_moves_from_held_to_spent_in_the_window_of_its_hold(bench: Bench) -> None:
    await put(bench, room_for(3, window="day"))
    ref = await bench.running()
    assert (await standing(bench)).held == PRICE
    received = await bench.receive(ref)
    assert received is not None
    await bench.succeed(received[1])
    now = await standing(bench)
    assert (now.held, now.spent) == (0, PRICE)
    assert await bench.audit() == []


async def test_a_hold_of_yesterday_is_charged_to_yesterday(bench: Bench) -> None:
    ref = await bench.running()
    await bench.run("UPDATE ledger SET at = at - interval '1 day'")
    await put(bench, room_for(3, window="day"))
    received = await bench.receive(ref)
    assert received is not None
    now = await standing(bench)
    assert (now.held, now.spent) == (0, 0)
    windows = await bench.rows("SELECT held, spent FROM budget_windows ORDER BY starts_at")
    assert [(w["held"], w["spent"]) for w in windows] == [(0, PRICE)]
    assert await bench.audit() == []


async def test_a_retry_without_room_waits_for_the_budget_and_goes_on_when_it_is_raised(
    bench: Bench,
) -> None:
    await put(bench, room_for(1))
    ref = await bench.running()
    job = await bench.lose(ref, LOST)  # the lost attempt keeps its hold: no room for another
    assert job is not None
    assert (job.status, job.waiting_reason, job.run_after) == ("queued", "budget", None)
    assert await bench.do(lambda tx: jobs.waiting_for_budget(tx, 10)) == []
    assert await bench.do(lambda tx: jobs.readmit(tx, bench.presenter, job.id)) is None
    budget = await put(bench, room_for(2))
    waits = jobs.Waiting(job.project_id, budget.budget.id, job.id)
    assert await bench.do(lambda tx: jobs.waiting_for_budget(tx, 10)) == [waits]
    assert await bench.do(lambda tx: jobs.readmit(tx, bench.presenter, job.id)) is not None
    assert await bench.do(lambda tx: jobs.readmit(tx, bench.presenter, job.id)) is None
    again = await bench.job(job.id)
    assert (again["status"], again["waiting_reason"], again["held"]) == (
        "queued", "queue", 2 * PRICE,
    )  # fmt: skip
    assert await bench.audit() == []


async def test_canceling_a_job_that_waits_for_a_budget_leaves_only_its_unknown_hold(
    bench: Bench,
) -> None:
    await put(bench, room_for(1))
    ref = await bench.running()
    await bench.lose(ref)
    canceled = await bench.cancel(ref.job_id)
    assert (canceled.status, canceled.held) == ("canceled", PRICE)
    await bench.resolve(ref.job_id)
    now = await standing(bench)
    assert (now.held, now.spent) == (0, 0)
    assert await bench.audit() == []


async def test_making_a_budget_folds_what_the_ledger_has(bench: Bench) -> None:
    await bench.submit(prompt="one")
    received = await bench.receive(await bench.running(prompt="two"))
    assert received is not None
    made = await put(bench, TOTAL)
    assert (made.held, made.spent) == (PRICE, PRICE)
    assert await bench.audit() == []


async def test_a_budget_made_while_jobs_are_submitted_misses_none(bench: Bench) -> None:
    submitted = [bench.submit(prompt=f"fox {n}") for n in range(40)]
    made = [put(bench, room_for(100, window=w)) for w in ("day", "month", "total")]
    await asyncio.gather(*submitted[:20], *made, *submitted[20:])
    found = await bench.do(lambda tx: budgets.standings(tx, bench.caller.project_id))
    assert [each.held for each in found] == [40 * PRICE] * 3
    assert await bench.audit() == []


@pytest.mark.parametrize("scope", ["key", "customer"])
async def test_a_budget_of_a_key_or_a_customer_binds_only_its_own(bench: Bench, scope: str) -> None:
    own = {"key_id": bench.caller.key_id} if scope == "key" else {"customer": "c_1"}
    await put(bench, room_for(1, scope=scope, **own))
    await bench.submit(prompt="one", customer="c_1")
    with pytest.raises(BudgetExceeded):
        await bench.submit(prompt="two", customer="c_1")
    if scope == "customer":
        await bench.submit(prompt="three", customer="c_2")
        await bench.submit(prompt="four")
    assert await bench.audit() == []


async def test_no_job_is_told_to_wait_for_the_budget_of_another_key(bench: Bench) -> None:
    key, mine = api_keys.new_key(), bench.caller
    other = await bench.do(
        lambda tx: api_keys.create_key(tx, mine.project_id, "other", ("jobs:write",), key)
    )
    job_id = await bench.submit(prompt="of no customer")
    of_key, of_all = room_for(0, scope="key", key_id=mine.key_id), room_for(0)
    for rule in (of_key, room_for(0, scope="key", key_id=other.id), of_all):
        await put(bench, rule)
    job = await bench.do(lambda tx: tx.get_one(Job, job_id))
    bound = await bench.do(lambda tx: budgets.hard(tx, job))
    assert [each.budget.key_id for each in bound] == [mine.key_id, None]


async def test_another_projects_key_cannot_have_a_budget_here(
    bench: Bench, database: Database, vault: Vault
) -> None:
    other, _ = await make_project(database, vault, "other")
    with pytest.raises(NotFound):
        await put(bench, room_for(1, scope="key", key_id=other.key_id))


async def rotated(bench: Bench) -> Bench:
    """Rotate the key; returns the bench of whoever has the fresh one."""
    caller, fresh = bench.caller, api_keys.new_key()
    await bench.do(
        lambda tx: api_keys.rotate_key(tx, caller.project_id, caller.key_id, 3600, fresh)
    )
    found = await bench.do(lambda tx: callers.caller(tx, fresh))
    assert found is not None
    return replace(bench, caller=found)


async def test_a_budget_follows_its_key_through_rotations_with_what_it_has_spent(
    bench: Bench,
) -> None:
    made = await put(bench, room_for(3, scope="key", key_id=bench.caller.key_id))
    await bench.submit(prompt="by the first")
    second = await rotated(bench)
    await second.submit(prompt="by the second")
    third = await rotated(second)
    ref = await third.running(prompt="by the third")
    await third.receive(ref)
    await third.succeed(ref)
    for each in (bench, second, third):
        with pytest.raises(BudgetExceeded, match="of this API key"):
            await each.submit(prompt="one too many")
    now = await standing(bench)
    assert (now.budget.id, now.held, now.spent) == (made.budget.id, 2 * PRICE, PRICE)
    booked = await bench.rows("SELECT key_id FROM ledger WHERE kind = 'hold' ORDER BY id")
    assert [row["key_id"] for row in booked] == [
        each.caller.key_id for each in (bench, second, third)
    ], "usage by key tells them apart"
    assert await bench.audit() == []


async def test_a_budget_put_on_a_later_key_is_that_of_the_whole_line(bench: Bench) -> None:
    await bench.submit(prompt="by the first")
    second = await rotated(bench)
    stranger = await bench.do(
        lambda tx: api_keys.create_key(
            tx, bench.caller.project_id, "other", ("admin",), api_keys.new_key()
        )
    )
    first = await put(bench, room_for(2, scope="key", key_id=bench.caller.key_id))
    again = await put(bench, room_for(5, scope="key", key_id=second.caller.key_id))
    assert (again.budget.id, again.held) == (first.budget.id, PRICE)
    other = await put(bench, room_for(1, scope="key", key_id=stranger.id))
    assert (other.budget.id != first.budget.id, other.held) == (True, 0)
    assert await bench.audit() == []


async def test_a_project_has_no_more_budgets_than_it_may(bench: Bench) -> None:
    def put_one(customer: str) -> Awaitable[BudgetState]:
        rule = room_for(1, scope="customer", customer=customer)
        return bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule, most=2))

    await put_one("c_1")
    many = await asyncio.gather(*(put_one(f"c_{n}") for n in range(2, 8)), return_exceptions=True)
    assert [type(each) for each in many].count(BudgetState) == 1
    assert [type(each) for each in many].count(LimitReached) == 5
    await put_one("c_1")  # which is there already
    assert len(await bench.rows("SELECT id FROM budgets")) == 2


async def test_a_soft_budget_refuses_nothing_and_tells_each_threshold_once(bench: Bench) -> None:
    await put(bench, room_for(10, mode="soft", limit=10 * PRICE))
    told = []
    for n in range(12):
        await bench.submit(prompt=f"fox {n}")
        reached, _ = await bench.do(lambda tx: budgets.crossing(tx, UUID(int=0), 10))
        for each in reached:
            crossed = await bench.do(lambda tx, id_=each: budgets.cross(tx, id_))  # type: ignore[misc] # bound now
            assert crossed is not None
            told.append((n + 1, crossed[1]))
            again = await bench.do(lambda tx, id_=each: budgets.cross(tx, id_))  # type: ignore[misc] # bound now
            assert again is None, "it is told once"
    assert told == [(8, 80), (10, 100)]
    assert (await standing(bench)).left == 0


async def test_of_several_budgets_the_tightest_decides_and_none_keeps_a_trace(
    bench: Bench,
) -> None:
    await put(bench, room_for(5))
    await put(bench, room_for(1, window="day"))
    await put(bench, room_for(9, window="month", mode="soft"))
    await bench.submit(prompt="one")
    with pytest.raises(BudgetExceeded, match="day budget"):
        await bench.submit(prompt="two")
    assert [w["held"] for w in await bench.rows("SELECT held FROM budget_windows")] == [PRICE] * 3
    assert await bench.audit() == []


@pytest.mark.parametrize(
    ("held_at", "zone", "starts"),
    [
        # The night of the change to winter time has 25 hours, that to summer time 23.
        ("2026-10-25T22:59:00Z", "Europe/Berlin", "2026-10-24T22:00:00Z"),
        ("2026-10-25T23:00:00Z", "Europe/Berlin", "2026-10-25T23:00:00Z"),
        ("2026-03-29T21:59:00Z", "Europe/Berlin", "2026-03-28T23:00:00Z"),
        ("2026-03-29T22:00:00Z", "Europe/Berlin", "2026-03-29T22:00:00Z"),
        ("2026-03-29T22:00:00Z", "UTC", "2026-03-29T00:00:00Z"),
        ("2026-03-29T18:29:00Z", "Asia/Kolkata", "2026-03-28T18:30:00Z"),
    ],
)
async def test_a_day_begins_at_midnight_of_the_budgets_own_zone(
    bench: Bench, held_at: str, zone: str, starts: str
) -> None:
    await bench.submit()
    await bench.run("UPDATE ledger SET at = CAST(:at AS timestamptz)", at=held_at)
    await put(bench, room_for(1, window="day", timezone=zone))
    (window,) = await bench.rows("SELECT starts_at FROM budget_windows")
    assert window["starts_at"] == datetime.fromisoformat(starts)


async def test_a_month_ends_where_the_next_begins(bench: Bench) -> None:
    made = await put(bench, room_for(1, window="month", timezone="America/New_York"))
    assert made.ends_at is not None
    assert made.starts_at <= datetime.now(UTC) < made.ends_at
    assert timedelta(days=27) < made.ends_at - made.starts_at < timedelta(days=32)


async def test_the_audit_sees_a_window_that_was_tampered_with(bench: Bench) -> None:
    await put(bench, TOTAL)
    await bench.submit()
    await bench.run("UPDATE budget_windows SET held = held - 1")
    (found,) = await audit(bench.database)
    assert found.about.startswith("bud_")
    assert "90999 held" in found.message


async def test_a_deleted_budget_binds_nobody(bench: Bench) -> None:
    made = await put(bench, room_for(0))
    with pytest.raises(BudgetExceeded):
        await bench.submit()
    await bench.do(lambda tx: budgets.remove(tx, bench.caller.project_id, made.budget.id))
    await bench.submit()
    with pytest.raises(NotFound):
        await bench.do(lambda tx: budgets.remove(tx, bench.caller.project_id, made.budget.id))


async def test_reaping_and_expiring_two_projects_at_once_deadlock_nobody(
    bench: Bench, database: Database, vault: Vault
) -> None:
    other, _ = await make_project(database, vault, "other")
    benches = (bench, Bench(database, bench.presenter, other))
    for each in benches:
        await put(each, room_for(100))
        await put(each, room_for(100, window="day"))
    # In turn, so that each round meets both projects in an order of its own.
    for n in range(6):
        for each in benches if n % 2 else reversed(benches):
            await each.running(prompt=f"running {n}")
            waiting = await each.submit(prompt=f"waiting {n}")
            await each.change(waiting, f"queue_expires_at = now() - interval '{n % 3} s'")
    await bench.run(
        "UPDATE jobs SET lease_until = now() - random() * interval '9 s' WHERE status = 'running'"
    )
    rounds = (bench.reap_round(), bench.expire_due(), bench.reap_round(), bench.expire_due())
    reaped, expired, again, late = await asyncio.gather(*rounds)
    assert isinstance(reaped, Counter)
    assert isinstance(again, Counter)
    assert (reaped + again)["lost"] == 12
    assert (expired, late) in {(n, 12 - n) for n in range(13)}
    assert await bench.audit() == []


async def test_another_limit_waits_for_no_booking_and_keeps_what_is_counted(bench: Bench) -> None:
    made = await put(bench, room_for(5, mode="soft"))
    job = await bench.submit()
    await bench.run("UPDATE budget_windows SET told = 100")
    async with bench.database.transaction() as booking:
        await booking.execute(
            text("SELECT FROM projects WHERE id = :id FOR KEY SHARE"),
            {"id": bench.caller.project_id},
        )
        async with asyncio.timeout(5):
            changed = await put(bench, room_for(2))
    assert (changed.budget.id, changed.budget.limit) == (made.budget.id, 2 * PRICE + 1)
    assert (changed.held, changed.budget.mode, changed.told) == (PRICE, "hard", 0)
    await bench.submit()
    with pytest.raises(BudgetExceeded):
        await bench.submit()
    assert await bench.audit() == []
    await bench.cancel(job)
