"""The present price: from the catalog, corrected by what the provider quotes and by what it charges."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.simulator import Running
from models import prices
from models.db import Database
from models.projects import Caller
from models.settings import Settings
from tests import spending
from tests.integration.api.client import cost, problem
from tests.integration.api.conftest import serve
from tests.spending import CHARGED, HOUR, MODEL, PRICE, House
from worker.dispatcher import measuring, pricing, reconciling

DEARER, CHEAPER = 120_000, 60_000


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    async with spending.opened(settings, database, caller, provider) as opened:
        yield opened


async def price(house: House) -> int | None:
    return await house.bench.do(lambda tx: prices.current(tx, MODEL))


async def ask(house: House) -> None:
    await pricing.turn(house.books)


async def job(house: House, job_id: UUID) -> tuple[str, int, int]:
    row = await house.bench.job(job_id)
    return row["status"], row["held"], row["charged"]


async def test_until_something_is_learned_the_catalogs_price_holds(house: House) -> None:
    assert await price(house) is None
    assert await house.bench.do(prices.present) == {MODEL: PRICE}
    assert await house.bench.do(prices.dearest) == PRICE


async def test_a_quote_is_learned(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    await ask(house)
    assert await price(house) == DEARER
    assert await house.bench.do(prices.dearest) == DEARER


@pytest.mark.parametrize("charged", [DEARER, CHEAPER])
async def test_a_charge_teaches_its_price_and_is_booked_as_charged(
    house: House, charged: int
) -> None:
    house.provider.world.change({"price": charged})
    with capture_logs() as logs:
        (done,) = await house.spend("ok")
    assert await price(house) == charged
    assert await job(house, done) == ("succeeded", 0, charged)
    drifts = [line for line in logs if line["event"] == "price.drift"]
    assert [(line["held"], line["charged"]) for line in drifts] == [(PRICE, charged)]


async def test_a_charge_as_held_writes_nothing(house: House) -> None:
    await house.spend("ok", "ok")
    assert await house.bench.rows("SELECT * FROM prices") == []


async def test_of_quote_and_charge_the_last_change_wins(house: House) -> None:
    await ask(house)
    house.provider.world.change({"price": DEARER, "quoted_price": PRICE})
    await house.spend("ok")
    assert await price(house) == DEARER
    await ask(house)  # the quote that it repeats is no news
    assert await price(house) == DEARER
    house.provider.world.change({"quoted_price": CHEAPER})
    await ask(house)
    assert await price(house) == CHEAPER
    await house.spend("ok")
    assert await price(house) == DEARER


async def test_a_charge_found_out_late_teaches_no_old_price(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    (lost,) = await house.spend(CHARGED)
    house.provider.world.change({"price": CHEAPER})
    await ask(house)
    await reconciling.turn(house.books)
    assert await job(house, lost) == ("failed", 0, DEARER)
    assert await price(house) == CHEAPER


async def test_nobody_learns_a_price_of_nothing(house: House) -> None:
    assert not await house.bench.do(lambda tx: prices.quote(tx, MODEL, 0))
    assert not await house.bench.do(lambda tx: prices.observe(tx, MODEL, held=PRICE, charged=0))
    assert await price(house) is None


async def test_a_price_list_that_is_down_or_silent_changes_nothing(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    await ask(house)
    house.provider.world.change({"quoted_price": 0})
    await ask(house)
    assert await price(house) == DEARER


async def test_a_drift_is_measured(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    await house.spend("ok", "ok")
    await measuring.turn(house.books.desk)
    assert measure("darkroom_price_credits") == DEARER
    assert measure("darkroom_price_drifts") == 2
    assert measure("darkroom_price_drift_credits") == 2 * (DEARER - PRICE)


async def test_many_charges_at_a_new_price_settle_together(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    made = await house.spend(*["ok"] * 20)
    assert {await job(house, each) for each in made} == {("succeeded", 0, DEARER)}
    assert await price(house) == DEARER


async def test_a_retry_after_a_dearer_lost_call_keeps_each_hold_apart(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    (done,) = await house.spend(f"{CHARGED}, ok", on_unknown_charge="retry", max_cost=3 * DEARER)
    assert await job(house, done) == ("succeeded", PRICE, DEARER)
    await house.age(HOUR)
    await reconciling.turn(house.books)
    assert await job(house, done) == ("succeeded", 0, 2 * DEARER)


async def test_a_submission_holds_the_present_price(settings: Settings, database: Database) -> None:
    async with database.transaction() as tx:
        await prices.quote(tx, MODEL, DEARER)
    async with serve(settings, database) as api:
        made = await api.job(await api.submit())
        assert made["cost"] == cost(estimated=DEARER, held=DEARER)
        body = {"input": {"model": MODEL, "prompt": "a red bicycle"}, "max_cost": PRICE}
        problem(await api.client.post("/v1/jobs", json=body), 422, "invalid_request")


def measure(name: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"model": MODEL})
