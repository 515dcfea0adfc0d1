"""What the dispatcher does for the books: funds who waited, tells of thresholds, audits for a metric."""

import json
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from deploy.simulator import Running
from models import budgets, endpoints
from models.budgets import Rule
from models.db import Database
from models.projects import Caller
from models.settings import Settings
from tests import spending
from tests.making import PRICE
from tests.spending import House
from tests.zones import NOON
from worker.dispatcher import auditing, budgeting


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    async with spending.opened(settings, database, caller, provider) as opened:
        yield opened


async def put(house: House, limit: int, mode: str) -> None:
    rule = Rule("project", "day", NOON, limit, "soft" if mode == "soft" else "hard")
    project = house.bench.caller.project_id
    await house.bench.do(lambda tx: budgets.put(tx, project, rule))


async def test_a_threshold_is_told_once_to_the_endpoints_that_list_it(house: House) -> None:
    bench, vault = house.bench, house.bench.lens.vault
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
    desk = house.books.desk
    assert await budgeting.turn(desk) is False
    assert await budgeting.turn(desk) is False
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
    await budgeting.turn(house.books.desk)
    reasons = [(await bench.job(each))["waiting_reason"] for each in waiting]
    assert reasons == ["queue", "queue", "budget"]
    # These calls were never made: nobody has charged them.
    for job_id in waiting:
        await bench.resolve(job_id)


async def test_the_audit_is_a_metric_that_says_how_many_differences_there_are(
    house: House,
) -> None:
    bench, desk = house.bench, house.books.desk
    job_id = await bench.submit()
    await auditing.turn(desk)
    assert REGISTRY.get_sample_value("darkroom_audit_differences") == 0
    await bench.change(job_id, "held = held + 1")
    await auditing.turn(desk)
    assert REGISTRY.get_sample_value("darkroom_audit_differences") == 1
    await bench.change(job_id, "held = held - 1")
    await auditing.turn(desk)
    assert REGISTRY.get_sample_value("darkroom_audit_differences") == 0
