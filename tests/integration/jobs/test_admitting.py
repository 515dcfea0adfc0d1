"""Many submissions in one statement: each is accepted, refused or looked at as if it had come alone."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text

from models import jobs
from models.accounts.callers import Caller
from models.jobs import Candidate, Idempotency, Snapshot, batches
from models.money import budgets
from models.money.budgets import Rule
from tests.fixtures.making import PRICE, Bench, asked
from tests.fixtures.zones import NOON


def _candidate(
    bench: Bench, prompt: str = "a fox", name: str | None = None, **changes: object
) -> Candidate:
    named: Idempotency | None = None if name is None else ("submit", name, b"print")
    return Candidate.of(bench.caller, asked(prompt, **changes), named)


async def _admit(
    bench: Bench, candidates: list[Candidate], *, budgeted: bool = False
) -> list[Snapshot | None]:
    found = await jobs.admit_several(bench.database.direct, candidates, budgeted=budgeted)
    return [found.get(each) for each in candidates]


async def test_each_is_accepted_as_if_it_were_alone(bench: Bench) -> None:
    given = [{"estimate": PRICE + n, "customer": f"c{n}", "tags": (f"t{n}",)} for n in range(20)]
    candidates = [_candidate(bench, f"fox {n}", f"key {n}", **each) for n, each in enumerate(given)]
    for n, made in enumerate(await _admit(bench, candidates)):
        assert made is not None
        read = await jobs.read(bench.database.direct, bench.caller.project_id, made.job.id)
        assert made.show(bench.presenter) == read.show(bench.presenter)
        assert (read.job.estimate, read.job.customer, read.job.tags) == (
            PRICE + n,
            f"c{n}",
            [f"t{n}"],
        )
        assert (read.job.input["prompt"], read.job.held) == (f"fox {n}", PRICE + n)
    assert await bench.audit() == []


async def test_of_those_with_one_key_one_is_accepted(bench: Bench) -> None:
    twice = [_candidate(bench, f"fox {n}", f"key {n % 5}") for n in range(15)]
    made = await _admit(bench, twice)
    assert sum(each is not None for each in made) == 5
    again = await _admit(bench, [_candidate(bench, "new"), _candidate(bench, "old", "key 0")])
    assert [each is None for each in again] == [False, True]
    assert await bench.audit() == []


async def test_one_that_spoils_the_statement_spoils_it_for_nobody(bench: Bench) -> None:
    spoiling = _candidate(bench, customer="\0")
    others = [_candidate(bench, f"fox {n}", f"key {n}") for n in range(3)]
    assert await _admit(bench, [*others, spoiling]) == [None] * 4
    assert not await bench.rows("SELECT FROM jobs")
    alone = [(await _admit(bench, [each]))[0] for each in (*others, spoiling)]
    assert [each is None for each in alone] == [False, False, False, True]


@pytest.mark.parametrize(("room", "accepted"), [(4, 4), (3, 0)])
async def test_together_they_are_accepted_only_where_there_is_room_for_all(
    bench: Bench, room: int, accepted: int
) -> None:
    await bench.submit()  # each window is there, once something was held
    rule = Rule("project", "day", NOON, (room + 1) * PRICE, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))
    await bench.submit(estimate=0, max_cost=PRICE)
    made = await _admit(bench, [_candidate(bench, f"fox {n}") for n in range(4)], budgeted=True)
    assert sum(each is not None for each in made) == accepted
    (window,) = await bench.rows("SELECT held FROM budget_windows")
    assert window["held"] == (1 + accepted) * PRICE
    assert await bench.audit() == []


async def test_a_budget_counts_each_that_is_made_and_no_other(bench: Bench) -> None:
    rule = Rule("project", "day", NOON, 100 * PRICE, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))
    await bench.submit()
    same = [_candidate(bench, f"fox {n}", f"key {n % 3}") for n in range(9)]
    assert sum(each is not None for each in await _admit(bench, same, budgeted=True)) == 3
    (window,) = await bench.rows("SELECT held FROM budget_windows")
    assert window["held"] == 4 * PRICE
    assert await bench.audit() == []


async def test_two_that_bring_the_same_keys_do_not_wait_for_each_other(bench: Bench) -> None:
    for turn in range(20):
        names = [f"{turn}-{n}" for n in range(30)]
        groups = [
            [_candidate(bench, "fox", each) for each in order]
            for order in (names, names[::-1], names[15:] + names[:15])
        ]
        made = await asyncio.gather(*(_admit(bench, each) for each in groups))
        ids: list[UUID] = [each.job.id for some in made for each in some if each is not None]
        assert len(ids) == 30
    deadlocks = await bench.rows(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks[0]["deadlocks"] == 0


async def test_a_project_with_budgets_is_not_taken_for_one_without(bench: Bench) -> None:
    rule = Rule("project", "day", NOON, 0, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))
    stale: Caller = replace(bench.caller, budgeted=False)
    candidate = Candidate.of(stale, asked(), None)
    assert await jobs.admit_several(bench.database.direct, [candidate], budgeted=False) == {}


async def test_one_name_in_a_group_and_alone_makes_no_deadlock(bench: Bench) -> None:
    rule = Rule("project", "day", NOON, 100 * PRICE, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))
    await bench.submit()  # the window is there
    budgeted: Caller = replace(bench.caller, budgeted=True)
    name: Idempotency = ("submit", "key", b"print")
    async with bench.database.transaction() as hand:
        await hand.execute(text("SELECT FROM budget_windows FOR UPDATE"))
        group = asyncio.create_task(_admit(bench, [_candidate(bench, "fox", "key")], budgeted=True))
        await _waiting(bench, 1)
        alone = asyncio.create_task(
            bench.do(
                lambda tx: jobs.submit(
                    tx, bench.presenter, budgeted, asked("fox"), idempotency=name
                )
            )
        )
        await _waiting(bench, 2)
    (made,), (job, replayed) = await asyncio.gather(group, alone)
    assert made is not None
    assert (job.id, replayed) == (made.job.id, True)
    assert await bench.audit() == []


async def test_a_batch_is_foreseen_while_a_budget_is_deleted(bench: Bench) -> None:
    caller = bench.caller
    rule = Rule("project", "day", NOON, PRICE, "hard")
    made = await bench.do(lambda tx: budgets.put(tx, caller.project_id, rule))
    async with bench.database.transaction() as hand:
        await budgets.remove(hand, caller.project_id, made.budget.id)
        foreseen = asyncio.create_task(
            bench.do(lambda tx: batches.foresee(tx, caller, {None: PRICE}))
        )
        await _waiting(bench, 1)
    await foreseen


async def _waiting(bench: Bench, number: int) -> None:
    """Wait until so many connections wait for a lock."""
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while len(await bench.rows(waiting)) != number:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
