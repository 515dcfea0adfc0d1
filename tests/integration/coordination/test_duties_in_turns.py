"""No duty spends its turns on one project: what waits of another is met, however much that one has.

`test_poison.py` has the same of one row that cannot be moved.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from models import jobs
from models.accounts.callers import Caller
from models.images import collector
from models.jobs import Waiting
from models.jobs.view import Presenter
from models.money import budgets
from models.money.budgets import BudgetState, Rule
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.settings import Settings
from tests.conftest import make_project
from tests.fixtures.making import NOTHING, PRICE, Bench
from worker.dispatcher.duties import budgeting, reaping
from worker.dispatcher.duty import Dispatcher
from worker.runtime.app import connect

_COPIES = """
    INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority, estimate, customer,
           queue_expires_at, deadline, max_attempts, max_cost, on_unknown_charge, waiting_reason, run_after,
           budget_id)
    SELECT gen_random_uuid(), project_id, key_id, rank + n * interval '1 ms', model, input, input_hash,
           priority, estimate, customer, queue_expires_at, deadline, max_attempts, max_cost,
           on_unknown_charge, waiting_reason, run_after, budget_id
      FROM jobs, generate_series(1, :count) n WHERE id = :job
"""


@pytest.fixture
def hog(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    return Bench(database, presenter, caller)


@pytest.fixture
async def quiet(hog: Bench, vault: Vault) -> Bench:
    (caller, _) = await make_project(hog.database, vault, "quiet")
    return Bench(hog.database, hog.presenter, caller)


@pytest.fixture
async def dispatcher(settings: Settings, hog: Bench) -> AsyncIterator[Dispatcher]:
    async with Doorbell(settings.redis_url.get_secret_value()) as doorbell:
        yield Dispatcher(
            settings, "dispatcher-1", hog.database, doorbell, connect(settings), hog.presenter
        )


async def put(bench: Bench, credits_: int, customer: str | None = None) -> BudgetState:
    scope = "project" if customer is None else "customer"
    rule = Rule(scope, "total", "UTC", credits_, "hard", customer=customer)  # type: ignore[arg-type] # literals
    return await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))


async def waits_for(bench: Bench, customer: str) -> list[str | None]:
    rows = await bench.rows(
        "SELECT DISTINCT waiting_reason FROM jobs WHERE customer = :customer", customer=customer
    )
    return [row["waiting_reason"] for row in rows]


@pytest.mark.parametrize("column", ["queue_expires_at", "deadline"])
async def test_thousands_that_expire_keep_no_others_from_it(
    hog: Bench, quiet: Bench, column: str, dispatcher: Dispatcher
) -> None:
    many, one = await hog.submit(), await quiet.submit()
    await hog.change(many, f"{column} = now() - interval '1 h'")
    await hog.run(_COPIES, count=2_000, job=many)
    await quiet.change(one, f"{column} = now() - interval '1 s'")
    found = await hog.do(lambda tx: jobs.late(tx, 100, NOTHING))
    assert len(found) == 100
    assert found.index(one) <= 1
    await hog.run("DELETE FROM jobs WHERE id <> ALL (:kept)", kept=[*found[:5], many, one])
    assert await reaping.expire(dispatcher) is False
    assert (await quiet.job(one))["status"] == "expired"


async def test_customers_whose_budgets_are_full_keep_no_other_customer_waiting(
    hog: Bench, dispatcher: Dispatcher
) -> None:
    limits = {"full": PRICE, "free": PRICE}
    for customer, credits_ in limits.items():
        ref = await hog.running(customer=customer)
        await put(hog, credits_, customer)
        await hog.reap(ref.job_id)  # the lost call keeps its hold, so no other fits
        await hog.run(_COPIES, count=200, job=ref.job_id)
    assert await waits_for(hog, "full") == await waits_for(hog, "free") == ["budget"]
    assert await hog.do(lambda tx: jobs.waiting_for_budget(tx, 25)) == []
    await put(hog, 3 * PRICE, "free")
    assert await budgeting.readmit(dispatcher) is False
    went_on = await hog.rows("SELECT customer FROM jobs WHERE waiting_reason = 'queue'")
    assert [row["customer"] for row in went_on] == ["free", "free"]
    for row in await hog.rows("SELECT job_id FROM attempts"):
        await hog.resolve(row["job_id"])  # these calls were never made


async def test_what_another_budget_refuses_waits_for_that_one_from_now_on(
    hog: Bench, dispatcher: Dispatcher
) -> None:
    customers = ("full", "full", "full", "free")
    mine = [(await hog.running(customer=each)).job_id for each in customers]
    of_all = (await put(hog, 4 * PRICE)).budget.id
    of_one = (await put(hog, 3 * PRICE, "full")).budget.id
    for job_id in mine:
        await hog.reap(job_id)
    # As a release before this one left them: nobody has said which budget it is.
    await hog.run("UPDATE jobs SET budget_id = NULL")
    await budgeting.readmit(dispatcher)
    rows = await hog.rows("SELECT budget_id FROM jobs")
    assert {row["budget_id"] for row in rows} == {of_all}
    await put(hog, 9 * PRICE)
    await budgeting.readmit(dispatcher)
    assert await waits_for(hog, "full") == ["budget"]
    assert await waits_for(hog, "free") == ["queue"]
    found = await hog.do(lambda tx: jobs.waiting_for_budget(tx, 25))
    assert found == []
    await put(hog, 4 * PRICE, "full")
    found = await hog.do(lambda tx: jobs.waiting_for_budget(tx, 25))
    assert found[0] == Waiting(hog.caller.project_id, of_one, mine[0])
    for job_id in mine:
        await hog.resolve(job_id)


async def test_blobs_of_one_project_keep_no_others_from_being_deleted(
    hog: Bench, quiet: Bench
) -> None:
    await hog.run(
        "INSERT INTO remnants (project_id, sha256, since)"
        " SELECT :hog, n::text, now() - interval '2 h' FROM generate_series(1, 500) n"
        " UNION ALL SELECT :quiet, 'one', now() - interval '1 h'",
        hog=hog.caller.project_id, quiet=quiet.caller.project_id,
    )  # fmt: skip
    swept, looked_at = await hog.do(lambda tx: collector.sweep(tx, 50, timedelta(minutes=5)))
    assert (len(swept), looked_at) == (50, 50)
    assert [each.sha256 for each in swept if each.project_id == quiet.caller.project_id] == ["one"]
