"""Hard budgets before a provider that lies: no hold beyond them, and at last they stand where its books do.

What was charged beyond its price may take a budget over its limit, for it is paid; then nothing more is
let in until the account's ledger has made room again.
"""

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from random import Random
from uuid import UUID

import pytest

from deploy.simulator import Running
from models.accounts.callers import Caller
from models.errors import BudgetExceeded
from models.money import budgets
from models.money.audit import audit
from models.money.budgets import BudgetState, Rule
from models.platform.db import Database
from models.settings import Settings
from models.states import BudgetScope
from tests.fixtures import spending
from tests.fixtures.lies import is_nameless, lying, settle
from tests.fixtures.spending import HOUR, PRICE, House
from worker.dispatcher.account import matching, reconciling
from worker.dispatcher.account.matching import Reported

_LIMITS = {None: 4 * PRICE, "c_1": 2 * PRICE, "c_2": 3 * PRICE}  # of the project, and two customers


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    # What is drawn may close a gate, and take longer than a worker's report is believed.
    patient = {"breaker_errors": 1_000, "breaker_lost": 1_000, "worker_seen": 3_600.0}
    async with spending.opened(settings, database, caller, provider, **patient) as opened:
        yield opened


def _rule(customer: str | None, limit: int) -> Rule:
    scope: BudgetScope = "project" if customer is None else "customer"
    return Rule(scope, "total", "UTC", limit, "hard", customer=customer)


async def limit(house: House, customer: str | None, credits_: int) -> None:
    rule = _rule(customer, credits_)
    await house.bench.do(lambda tx: budgets.put(tx, house.bench.caller.project_id, rule))


async def standing(house: House) -> dict[str | None, BudgetState]:
    project_id = house.bench.caller.project_id
    found = await house.bench.do(lambda tx: budgets.standings(tx, project_id))
    return {each.budget.customer: each for each in found}


async def offer(house: House, script: str, customer: str) -> UUID | None:
    """Submit a job if its budgets have room, and demand that it is refused if they have none."""
    now = await standing(house)
    fits = all(
        now[each].held + now[each].spent + PRICE <= _LIMITS[each] for each in (None, customer)
    )
    try:
        made = await house.submit(script, customer=customer, max_attempts=1)
    except BudgetExceeded:
        assert not fits
        return None
    assert fits
    return made


async def in_provider_s_books(house: House) -> Counter[str | None]:
    """Sum up what the account's ledger has moved: by customer, and under None for all."""
    moved, sums = house.moved(), Counter[str | None]()
    for row in await house.bench.rows(
        "SELECT client_request_id, customer FROM attempts JOIN jobs ON jobs.id = job_id"
    ):
        sums[None] += moved[row["client_request_id"]]
        if row["customer"] is not None:
            sums[row["customer"]] += moved[row["client_request_id"]]
    return sums


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 9))
async def test_a_hard_budget_holds_whatever_a_provider_says(house: House, seed: int) -> None:
    draw, reported, refused = Random(seed), Reported(), 0  # noqa: S311 - cases
    duties = (
        partial(reconciling.run, house.reader),
        partial(reconciling.recheck, house.reader),
        partial(matching.run, house.reader, reported),
    )
    for customer, credits_ in _LIMITS.items():
        await limit(house, customer, credits_)
    for _ in range(4):
        some = [lying(draw) for _ in range(6)]
        alone = [[each] for each in some if is_nameless(each)]
        for together in ([each for each in some if not is_nameless(each)], *alone):
            asked = [await offer(house, each, draw.choice(("c_1", "c_2"))) for each in together]
            refused += asked.count(None)
            await house.spend()
            await house.age(HOUR)
            for duty in draw.sample(duties, 2):
                await duty()
        assert await audit(house.bench.database) == []
    assert refused, "or no budget was met"
    await limit(house, None, 10**12)  # from here on others call, as ever
    await settle(house, rounds=5)
    await house.compare()
    held = await house.bench.rows("SELECT status, waiting_reason, held FROM jobs WHERE held > 0")
    assert held == []
    theirs = await in_provider_s_books(house)
    assert {each: state.spent for each, state in (await standing(house)).items()} == {
        each: theirs[each] for each in _LIMITS
    }
