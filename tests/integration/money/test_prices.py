"""The present price: from the catalog, corrected by what the provider quotes and by what it charges."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from models.errors import BudgetExceeded, InvalidRequest
from models.money import budgets, prices
from models.money.budgets import Rule
from models.money.prices import PriceList
from models.platform.db import Database
from models.provider import catalog
from models.schema import Attempt
from models.settings import Settings
from tests.fixtures.spending import CHARGED, HOUR, MODEL, PRICE, House
from tests.integration.api.client import cost, problem
from tests.integration.api.conftest import serve
from worker.dispatcher.account import pricing, reconciling
from worker.dispatcher.duties import measuring

DEARER, CHEAPER = 120_000, 60_000
UNPRICED = "bytedance/seedream-4-5"
EVERYTHING = [each.id for each in catalog.models()]
LATER = datetime.now(UTC) + timedelta(days=1)


async def price(house: House) -> int | None:
    return await house.bench.do(lambda tx: prices.current(tx, MODEL))


async def ask(house: House) -> None:
    await pricing.run(house.reader)


async def job(house: House, job_id: UUID) -> tuple[str, int, int]:
    row = await house.bench.job(job_id)
    return row["status"], row["held"], row["charged"]


async def test_until_something_is_learned_the_catalogs_price_holds(house: House) -> None:
    assert await price(house) is None
    assert await house.bench.do(prices.present) == {MODEL: PRICE}
    assert await house.bench.do(prices.dearest) == PRICE


async def test_a_model_without_a_price_is_called_while_the_provider_quotes_one(
    house: House,
) -> None:
    known = PriceList(house.reader.dispatcher.database)
    model = catalog.find(UNPRICED)
    assert model is not None
    with pytest.raises(InvalidRequest, match="cannot be called at present"):
        await known.estimate(model, {})
    # What charges alone have taught is not what somebody has published.
    await house.bench.run("INSERT INTO prices (model, credits) VALUES (:m, 5)", m=UNPRICED)
    assert await house.bench.do(prices.present) == {MODEL: PRICE}
    house.provider.world.change({"price": DEARER})
    await ask(house)
    assert await house.bench.do(prices.present) == dict.fromkeys(EVERYTHING, DEARER)
    assert await known.estimate(model, {}) == DEARER, "though it had no price a moment ago"


async def test_a_quote_is_learned(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    await ask(house)
    assert await price(house) == DEARER
    assert await house.bench.do(prices.dearest) == DEARER


def doubted() -> float:
    return REGISTRY.get_sample_value("darkroom_quotes_doubted_total", {"model": MODEL}) or 0


@pytest.mark.parametrize("told", [10**15, 10 * PRICE + 1, PRICE // 2 - 1, 1])
async def test_a_quote_far_off_is_told_and_changes_nothing(house: House, told: int) -> None:
    before = doubted()
    house.provider.world.change({"quoted_price": told})
    await ask(house)
    assert doubted() == before + 1
    assert await price(house) is None
    # Of a model that nobody has told a price of, only what no image costs is refused.
    others = dict.fromkeys(EVERYTHING, told) if told in prices.PLAUSIBLE else {}
    assert await house.bench.do(prices.present) == others | {MODEL: PRICE}


async def test_a_quote_far_off_is_believed_once_charges_agree_with_it(house: House) -> None:
    house.provider.world.change({"price": 12 * PRICE})
    await ask(house)
    assert await price(house) is None
    await house.spend("ok", "ok", "ok")
    await settle(house)
    before = doubted()
    await ask(house)
    assert (await price(house), doubted()) == (12 * PRICE, before)


async def test_what_an_older_release_believed_is_corrected_by_the_next_quote(house: House) -> None:
    await house.bench.run(
        "INSERT INTO prices (model, credits, quoted) SELECT unnest(ARRAY[:model, :other]), 1e15, 1e15",
        model=MODEL, other=UNPRICED,
    )  # fmt: skip
    await ask(house)
    assert await house.bench.do(prices.present) == dict.fromkeys(EVERYTHING, PRICE)


async def test_charges_that_no_image_costs_are_booked_and_teach_nothing(house: House) -> None:
    house.provider.world.change({"price": 10**10, "quoted_price": PRICE})
    house.provider.world.wallet.move(10**12)
    made = await house.spend("ok", "ok", "ok")
    await settle(house)
    assert {await job(house, each) for each in made} == {("succeeded", 0, 10**10)}
    assert await house.bench.do(prices.dearest) == PRICE


async def settle(house: House) -> None:
    """Let the provider's log say what is unknown."""
    await reconciling.run(house.reader)


@pytest.mark.parametrize("told", [99_000, 83_000])
async def test_a_price_close_to_the_published_one_is_booked_at_once(
    house: House, told: int
) -> None:
    house.provider.world.change({"price": told})
    with capture_logs() as logs:
        (done,) = await house.spend("ok")
    assert await job(house, done) == ("succeeded", 0, told)
    drifts = [line for line in logs if line["event"] == "price.drift"]
    assert [(line["held"], line["charged"]) for line in drifts] == [(PRICE, told)]
    assert await price(house) is None


async def test_a_price_far_off_is_unknown_until_the_log_tells(house: House) -> None:
    told = ("0", "1", "0.4", "50000", "91000000", "1e15", "1e30")
    made = dict(zip(told, await house.spend(*(f"ok+told={each}" for each in told)), strict=True))
    for each, done in made.items():
        assert await job(house, done) == ("succeeded", PRICE, 0), each
    assert await price(house) is None
    assert await house.bench.do(prices.dearest) == PRICE
    await settle(house)
    for each, done in made.items():
        assert await job(house, done) == ("succeeded", 0, PRICE), each
    assert await price(house) is None


async def test_however_many_answers_lie_no_price_is_learned(house: House) -> None:
    made = await house.spend(*["ok+told=91000000"] * 5, *["ok+told=1"] * 5)
    assert await price(house) is None
    await settle(house)
    assert {await job(house, each) for each in made} == {("succeeded", 0, PRICE)}
    assert await price(house) is None


@pytest.mark.parametrize(("charged", "holds"), [(DEARER, DEARER), (CHEAPER, PRICE)])
async def test_settled_charges_of_three_jobs_teach_their_price(
    house: House, charged: int, holds: int
) -> None:
    house.provider.world.change({"price": charged})
    made = await house.spend("ok", "ok")
    await settle(house)
    assert await price(house) is None
    made += await house.spend("ok")
    await settle(house)
    assert {await job(house, each) for each in made} == {("succeeded", 0, charged)}
    assert await price(house) == holds  # never less than the published price
    (known,) = await house.spend("ok")
    assert await job(house, known) == ("succeeded", 0, charged)


async def test_three_charges_of_one_job_teach_nothing(house: House) -> None:
    attempt = Attempt(job_id=uuid4(), hold=PRICE, credits=DEARER, sent_at=LATER)
    for _ in range(4):
        assert not await house.bench.do(lambda tx: prices.observe(tx, MODEL, attempt))
    assert await price(house) is None


async def test_charges_that_disagree_teach_nothing(house: House) -> None:
    for charged in (DEARER, DEARER, CHEAPER, DEARER, DEARER):
        house.provider.world.change({"price": charged})
        await house.spend("ok")
        await settle(house)
    assert await price(house) is None


async def test_a_charge_as_held_writes_nothing(house: House) -> None:
    await house.spend("ok", "ok")
    assert await house.bench.rows("SELECT * FROM prices") == []


async def test_a_quote_takes_back_what_charges_taught_though_it_is_no_news(house: House) -> None:
    await ask(house)
    house.provider.world.change({"price": DEARER, "quoted_price": PRICE})
    for _ in range(2):
        await house.spend("ok", "ok", "ok")
        await settle(house)
        assert await price(house) == DEARER
        await ask(house)
        assert await price(house) == PRICE
    house.provider.world.change({"quoted_price": CHEAPER})
    await ask(house)
    assert await price(house) == CHEAPER


async def test_a_price_that_an_older_release_learned_from_one_answer_is_not_taken(
    house: House,
) -> None:
    await house.bench.run("INSERT INTO prices (model, credits) VALUES (:model, 1)", model=MODEL)
    assert await price(house) is None
    assert await house.bench.do(prices.present) == {MODEL: PRICE}
    await ask(house)
    assert await price(house) == PRICE


async def test_twenty_jobs_of_a_budget_for_two_spend_what_it_allows(house: House) -> None:
    rule = Rule("project", "total", "UTC", 2 * PRICE, "hard")
    project = house.bench.caller.project_id
    await house.bench.do(lambda tx: budgets.put(tx, project, rule))
    refused = 0
    for _ in range(20):
        try:
            await house.spend("ok+told=1")
        except BudgetExceeded:
            refused += 1
    assert refused == 18
    await settle(house)
    (standing,) = await house.bench.do(lambda tx: budgets.standings(tx, project))
    assert (standing.held, standing.spent, standing.left) == (0, 2 * PRICE, 0)


async def test_a_charge_found_out_late_teaches_no_old_price(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    lost = await house.spend(CHARGED, CHARGED, CHARGED)
    house.provider.world.change({"price": CHEAPER})
    await ask(house)
    await settle(house)
    assert {await job(house, each) for each in lost} == {("failed", 0, DEARER)}
    assert await price(house) == CHEAPER


async def test_nobody_learns_a_price_of_nothing(house: House) -> None:
    assert not await house.bench.do(lambda tx: prices.quote(tx, MODEL, 0))
    for _ in range(3):
        free = Attempt(job_id=uuid4(), hold=PRICE, credits=0, sent_at=LATER)
        assert not await house.bench.do(partial(prices.observe, model_id=MODEL, attempt=free))
    assert await price(house) is None


async def test_a_price_list_that_is_down_or_silent_changes_nothing(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    await ask(house)
    house.provider.world.change({"quoted_price": 0})
    await ask(house)
    assert await price(house) == DEARER


async def test_a_drift_is_measured(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    await house.spend("ok", "ok", "ok")
    await settle(house)
    await measuring.run(house.reader.dispatcher)
    assert measure("darkroom_price_credits") == DEARER
    assert measure("darkroom_price_drifts") == 3
    assert measure("darkroom_price_drift_credits") == 3 * (DEARER - PRICE)


async def test_many_charges_at_a_new_price_settle_together(house: House) -> None:
    await ask(house)
    made = [await house.submit() for _ in range(20)]
    house.provider.world.change({"price": DEARER})
    while await house.work():
        pass
    jobs_ = [Attempt(job_id=each, hold=PRICE, credits=DEARER, sent_at=LATER) for each in made]
    await asyncio.gather(
        *(
            house.bench.do(partial(prices.observe, model_id=MODEL, attempt=each))
            for each in jobs_ * 3
        )
    )
    for each in jobs_[:3]:  # whoever met another there has left the word to it
        await house.bench.do(partial(prices.observe, model_id=MODEL, attempt=each))
    assert await price(house) == DEARER
    await settle(house)
    assert {await job(house, each) for each in made} == {("succeeded", 0, DEARER)}


async def test_a_retry_after_a_dearer_lost_call_keeps_each_hold_apart(house: House) -> None:
    house.provider.world.change({"price": DEARER})
    (done,) = await house.spend(f"{CHARGED}, ok", on_unknown_charge="retry", max_cost=3 * DEARER)
    assert await job(house, done) == ("succeeded", 2 * PRICE, 0)
    await house.age(HOUR)
    await settle(house)
    assert await job(house, done) == ("succeeded", 0, 2 * DEARER)


async def test_quotes_and_max_cost_heed_no_answer(house: House) -> None:
    await house.spend("ok+told=91000000", "ok+told=1")
    async with serve(house.settings, house.bench.database) as api:
        body = {"input": {"model": MODEL, "prompt": "a red bicycle"}, "max_cost": PRICE}
        quote = await api.client.post("/v1/quotes", json=body)
        assert quote.json()["estimated"]["credits"] == PRICE
        made = await api.client.post("/v1/jobs", json=body)
        assert made.status_code == 202
        assert made.json()["cost"]["held"] == PRICE
        problem(
            await api.client.post("/v1/jobs", json=body | {"max_cost": PRICE - 1}),
            422,
            "invalid_request",
        )


async def test_a_job_tells_why_its_charge_is_not_known(house: House) -> None:
    (done,) = await house.spend("ok+told=1")
    (attempt,) = await house.bench.attempts(done)
    assert (attempt["outcome"], attempt["charge"], attempt["credits"]) == ("image", "unknown", None)
    assert attempt["error"]["code"] == "price_doubted"
    assert "told 1 credits" in attempt["error"]["message"]


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
