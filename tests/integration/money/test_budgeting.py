"""What the dispatcher does for the books: funds who waited, tells of thresholds, audits for a metric."""

import json
from dataclasses import replace

from prometheus_client import REGISTRY

from models.money import budgets
from models.money.budgets import Rule
from models.platform.vault import Vault
from models.webhooks import endpoints
from tests.conftest import make_project
from tests.fixtures.making import PRICE, Bench
from tests.fixtures.spending import House
from tests.fixtures.zones import NOON
from worker.dispatcher.duties import auditing, budgeting


async def put(house: House, limit: int, mode: str) -> None:
    rule = Rule("project", "day", NOON, limit, "soft" if mode == "soft" else "hard")
    project = house.bench.caller.project_id
    await house.bench.do(lambda tx: budgets.put(tx, project, rule))


async def test_a_threshold_is_told_once_to_the_endpoints_that_list_it(house: House) -> None:
    bench, vault = house.bench, house.bench.presenter.vault
    await bench.do(
        lambda tx: endpoints.register(
            tx,
            vault,
            bench.caller.project_id,
            endpoints.Wish("https://example.com/budgets", ["budget.threshold"]),
        )
    )
    await put(house, 10 * PRICE, "soft")
    for n in range(8):
        await bench.submit(prompt=f"fox {n}")
    dispatcher = house.reader.dispatcher
    assert await budgeting.tell(dispatcher, budgeting.Round()) is False
    assert await budgeting.tell(dispatcher, budgeting.Round()) is False
    (event,) = await bench.rows("SELECT body, job_id FROM events WHERE type = 'budget.threshold'")
    told = json.loads(event["body"])
    assert event["job_id"] is None
    assert told["data"]["percent"] == 80
    assert (told["data"]["budget"]["held"], told["data"]["budget"]["left"]) == (
        8 * PRICE, 2 * PRICE,
    )  # fmt: skip
    (delivery,) = await bench.rows("SELECT url, state FROM deliveries")
    assert dict(delivery) == {"url": "https://example.com/budgets", "state": "pending"}


async def test_jobs_that_waited_for_room_are_funded_by_rank_as_far_as_it_goes(
    house: House,
) -> None:
    bench = house.bench
    waiting = []
    for n in range(3):
        ref = await bench.running(prompt=f"fox {n}")
        waiting.append(ref.job_id)
    await put(house, 3 * PRICE, "hard")
    for job_id in waiting:
        await bench.reap(job_id)  # each lost call keeps its hold, so no other fits
    assert [(await bench.job(each))["waiting_reason"] for each in waiting] == ["budget"] * 3
    await put(house, 5 * PRICE, "hard")
    await budgeting.readmit(house.reader.dispatcher)
    reasons = [(await bench.job(each))["waiting_reason"] for each in waiting]
    assert reasons == ["queue", "queue", "budget"]
    # These calls were never made: nobody has charged them.
    for job_id in waiting:
        await bench.resolve(job_id)


async def test_a_project_whose_jobs_find_no_room_keeps_no_others_from_theirs(
    house: House, vault: Vault
) -> None:
    hog = house.bench
    quiet = Bench(
        hog.database, hog.presenter, (await make_project(hog.database, vault, "quiet"))[0]
    )
    rule = Rule("project", "day", NOON, PRICE, "hard")
    for bench, room in ((hog, 1), (quiet, 2)):
        ref = await bench.running()
        project = bench.caller.project_id
        await bench.do(lambda tx, of=project: budgets.put(tx, of, rule))  # type: ignore[misc] # bound now
        await bench.reap(ref.job_id)
        wide = replace(rule, limit=room * PRICE)
        await bench.do(lambda tx, of=project, to=wide: budgets.put(tx, of, to))  # type: ignore[misc] # bound now
    await hog.run(
        "UPDATE jobs SET rank = rank - interval '1 h' WHERE project_id = :hog",
        hog=hog.caller.project_id,
    )
    await hog.run(_COPIES, count=200, hog=hog.caller.project_id)
    assert await budgeting.readmit(house.reader.dispatcher) is False
    reasons = await hog.rows("SELECT project_id, waiting_reason, count(*) FROM jobs GROUP BY 1, 2")
    assert {(row["project_id"], row["waiting_reason"]) for row in reasons} == {
        (hog.caller.project_id, "budget"), (quiet.caller.project_id, "queue"),
    }  # fmt: skip
    await hog.run("DELETE FROM jobs WHERE attempt = 0")
    for row in await hog.rows("SELECT job_id FROM attempts"):
        await hog.resolve(row["job_id"])  # these calls were never made


_COPIES = """
    INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority, estimate,
           queue_expires_at, max_attempts, max_cost, on_unknown_charge, waiting_reason, run_after,
           budget_id)
    SELECT gen_random_uuid(), project_id, key_id, rank, model, input, input_hash, priority, estimate,
           queue_expires_at, max_attempts, max_cost, on_unknown_charge, waiting_reason, NULL,
           budget_id
      FROM jobs, generate_series(1, :count) WHERE project_id = :hog
"""


async def test_each_look_at_thresholds_is_a_step_of_a_round_and_every_budget_is_met(
    house: House,
) -> None:
    bench = house.bench
    await bench.run(_BUDGETS, count=2_500)
    await bench.submit(customer="c_2499")
    dispatcher, round_, steps = house.reader.dispatcher, budgeting.Round(), 1
    while await budgeting.tell(dispatcher, round_):
        steps += 1
    assert steps == 3
    (window,) = await bench.rows("SELECT told FROM budget_windows")
    assert window["told"] == 100
    assert len(await house.events("budget.threshold")) == 1


async def test_a_project_that_moves_its_limits_is_told_of_so_many_thresholds(
    house: House,
) -> None:
    bench, dispatcher = house.bench, house.reader.dispatcher
    await bench.submit()

    async def told() -> int:
        await put(house, 1, "soft")  # from here on it is to be told again
        await budgeting.tell(dispatcher, budgeting.Round())
        return len(await house.events("budget.threshold"))

    assert await told() == 1
    await bench.run("UPDATE lanes SET free_at = now() + interval '1 h'")  # very many were told
    assert await told() == 1
    await bench.run("UPDATE lanes SET free_at = now()")
    assert await told() == 2


_BUDGETS = f"""
    WITH made AS (
        INSERT INTO budgets (id, project_id, scope, customer, "window", timezone, "limit", mode)
        SELECT gen_random_uuid(), id, 'customer', 'c_' || n, 'total', 'UTC', {PRICE}, 'soft'
          FROM projects, generate_series(1, :count) n
    )
    UPDATE projects SET budgeted = true
"""  # noqa: S608 - ours


async def test_the_audit_is_a_metric_that_says_how_many_differences_there_are(
    house: House,
) -> None:
    bench, dispatcher = house.bench, house.reader.dispatcher
    job_id = await bench.submit()
    await auditing.run(dispatcher)
    assert REGISTRY.get_sample_value("darkroom_audit_differences") == 0
    await bench.change(job_id, "held = held + 1")
    await auditing.run(dispatcher)
    assert REGISTRY.get_sample_value("darkroom_audit_differences") == 1
    await bench.change(job_id, "held = held - 1")
    await auditing.run(dispatcher)
    assert REGISTRY.get_sample_value("darkroom_audit_differences") == 0
