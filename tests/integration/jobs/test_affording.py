"""No call begins on a hold that is less than the price that is known: at its start all of it is checked."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from models import jobs
from models.jobs import Terms
from models.money import budgets, prices
from models.money.budgets import BudgetState, Rule
from tests.fixtures.making import LEASE, NOTHING, Bench
from tests.fixtures.spending import MODEL, PRICE, House
from tests.fixtures.zones import NOON
from worker.dispatcher.account import pricing
from worker.dispatcher.duties import budgeting

DEARER = 10 * PRICE
ENOUGH = 9 * DEARER


async def rise(house: House, price: int = DEARER) -> None:
    """Let the provider publish another price, and ask for it."""
    house.provider.world.change({"price": price})
    await pricing.run(house.reader)


async def limit(house: House, credits_: int) -> None:
    rule = Rule("project", "day", NOON, credits_, "hard")
    await house.bench.do(lambda tx: budgets.put(tx, house.bench.caller.project_id, rule))


async def standing(house: House) -> BudgetState:
    project = house.bench.caller.project_id
    return (await house.bench.do(lambda tx: budgets.standings(tx, project)))[0]


async def work(house: House) -> None:
    while await house.work():
        pass


async def waiting(house: House) -> list[tuple[str, str | None, int, int]]:
    rows = await house.bench.rows(
        "SELECT status, waiting_reason, held, estimate FROM jobs ORDER BY 1, 2"
    )
    return [(row["status"], row["waiting_reason"], row["held"], row["estimate"]) for row in rows]


async def test_a_hard_budget_holds_though_the_price_rises_while_jobs_wait(house: House) -> None:
    await limit(house, 1_000_000)
    for _ in range(10):
        await house.submit(max_cost=ENOUGH)
    await rise(house)
    await work(house)
    assert len(house.provider.world.calls.all) == 1
    now = await standing(house)
    assert (now.held, now.spent) == (0, DEARER)
    assert await waiting(house) == [("queued", "budget", 0, DEARER)] * 9 + [
        ("succeeded", None, 0, DEARER)
    ]
    await limit(house, 3 * DEARER)
    while await budgeting.readmit(house.reader.dispatcher):
        pass
    await work(house)
    now = await standing(house)
    assert (now.held, now.spent) == (0, 3 * DEARER)
    assert len(house.provider.world.calls.all) == 3


async def test_a_job_ends_before_a_cent_is_spent_beyond_its_max_cost(house: House) -> None:
    made = [await house.submit() for _ in range(3)]
    await rise(house)
    await work(house)
    assert house.provider.world.calls.all == []
    for each in made:
        job = await house.bench.job(each)
        assert (job["status"], job["held"], job["charged"]) == ("failed", 0, 0)
        assert job["error"]["code"] == "max_cost_reached"
        assert job["error"]["retryable"]
        assert await house.bench.events(each) == ["job.failed"]


async def test_what_is_paid_is_what_was_held(house: House) -> None:
    made = await house.submit(max_cost=ENOUGH)
    await rise(house)
    await work(house)
    assert await house.bench.ledger(made) == [
        (1, "hold", PRICE), (1, "release", -PRICE),
        (1, "hold", DEARER), (1, "release", -DEARER), (1, "charge", DEARER),
    ]  # fmt: skip
    (attempt,) = await house.bench.attempts(made)
    assert (attempt["hold"], attempt["charge"], attempt["credits"]) == (DEARER, "settled", DEARER)


@pytest.mark.parametrize("window", ["day", "total"])
async def test_a_budget_made_later_folds_what_was_held_twice(house: House, window: str) -> None:
    await house.submit(max_cost=ENOUGH)
    await house.bench.run("UPDATE ledger SET at = at - interval '2 days'")
    await rise(house)
    await work(house)
    rule = Rule("project", "day" if window == "day" else "total", NOON, 9 * DEARER, "soft")
    put = await house.bench.do(lambda tx: budgets.put(tx, house.bench.caller.project_id, rule))
    assert (put.held, put.spent) == (0, DEARER)
    assert await house.bench.audit() == []


async def test_a_retry_holds_what_a_call_costs_now(house: House) -> None:
    made = await house.submit("500, ok", max_cost=ENOUGH)
    await house.work()
    await rise(house)
    await house.bench.change(made, "run_after = now()")
    await work(house)
    assert await house.bench.ledger(made) == [
        (1, "hold", PRICE), (1, "release", -PRICE),
        (2, "hold", PRICE), (2, "release", -PRICE),
        (2, "hold", DEARER), (2, "release", -DEARER), (2, "charge", DEARER),
    ]  # fmt: skip


async def test_a_job_that_waited_for_a_budget_is_failed_when_its_own_limit_is_passed(
    house: House,
) -> None:
    await limit(house, DEARER)
    made = await house.submit(max_cost=DEARER)
    blocking = await house.submit()
    await rise(house)
    await house.work(together=False)  # the other holds some of it
    job = await house.bench.job(made)
    assert (job["status"], job["waiting_reason"], job["held"]) == ("queued", "budget", 0)
    assert (await house.bench.job(blocking))["status"] == "failed"
    await rise(house, DEARER + 1)
    await budgeting.readmit(house.reader.dispatcher)
    job = await house.bench.job(made)
    assert (job["status"], job["error"]["code"]) == ("failed", "max_cost_reached")
    assert house.provider.world.calls.all == []


@pytest.mark.parametrize(
    ("price", "plainly"), [(PRICE - 1, True), (PRICE, True), (PRICE + 1, False)]
)
@pytest.mark.parametrize("taught", [True, False])
async def test_the_fast_way_begins_what_the_general_one_would_begin_as_it_is(
    house: House, *, price: int, plainly: bool, taught: bool
) -> None:
    bench = house.bench
    made = await bench.submit(max_cost=ENOUGH)
    fence = await bench.dispatch(made)
    column = "taught" if taught else "quoted"
    await bench.run(
        f"INSERT INTO prices (model, credits, {column}) VALUES (:model, 1, :price)",  # noqa: S608 - ours
        model=MODEL,
        price=price,
    )
    begun = await jobs.start_plain(bench.database.direct, [(made, fence)], **_terms())
    assert bool(begun) == plainly
    if not begun:
        assert await _start(replace(bench, plain=False), made, fence)
    (attempt,) = await bench.attempts(made)
    assert attempt["hold"] == max(price, PRICE)
    assert (await bench.job(made))["held"] == max(price, PRICE)
    known = await bench.do(lambda tx: prices.known(tx, MODEL))
    assert known.present == (max(price, PRICE) if taught else price)


async def _start(bench: Bench, job_id: UUID, fence: int) -> bool:
    return await bench.start(job_id, fence) is not None


def _terms() -> Terms:
    return {
        "start_id": uuid4(), "worker": "w1", "key_prefix": "simulato",
        "lease": LEASE, "typical_call": NOTHING,
    }  # fmt: skip
