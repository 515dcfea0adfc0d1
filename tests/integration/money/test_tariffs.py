"""Prices that depend on the input, prices that nobody can tell ahead, and every model's own at once."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from deploy.simulator import Running
from models.accounts.callers import Caller
from models.errors import Conflict, ModelUnavailable, NotFound
from models.money import prices
from models.money.prices import PriceList
from models.platform.db import Database
from models.provider import catalog
from models.provider.catalog import Model
from models.settings import Settings
from tests.fixtures import spending
from tests.fixtures.samples import sample
from tests.fixtures.spending import House
from worker.dispatcher.account import pricing

NANO = "google/nano-banana-pro"
USD = {"1K": 0.05, "2K": 0.1, "4K": 0.2}
CREDITS = {each: round(usd * 2_000_000) for each, usd in USD.items()}
RESOLUTION = {
    "kind": "variants",
    "dimensions": ["resolution"],
    "variants": [
        {"when": {"resolution": each}, "price": usd, "unit": "image", "per": 1}
        for each, usd in USD.items()
    ],
}
TOKENS = {"kind": "variable", "currency": "USD"}


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    async with spending.opened(settings, database, caller, provider) as opened:
        yield opened


def find(name: str) -> Model:
    model = catalog.find(name)
    assert model is not None
    return model


async def quoted(house: House, tariff: object) -> None:
    """Let the provider tell this of Nano Banana Pro, and ask it."""
    house.provider.world.change({"tariffs": {NANO: tariff}})
    await pricing.run(house.reader)


async def estimate(house: House, **fields: object) -> int:
    """Return what a call with these fields is estimated at, as a fresh process knows it."""
    raw = {"model": NANO, "prompt": "a red bicycle"} | fields
    return await PriceList(house.reader.dispatcher.database).estimate(find(NANO), raw)


async def spend(house: House, *, held: int | None = None, **fields: object) -> dict[str, Any]:
    """Make one image with these fields, at its estimate or at this; returns the job's row."""
    raw = {"model": NANO, "prompt": "a red bicycle"} | fields
    price = await estimate(house, **fields) if held is None else held
    (done,) = await house.spend("ok", model=NANO, input=raw, estimate=price, max_cost=10**9)
    return dict(await house.bench.job(done))


async def test_held_is_the_dearest_variant_that_the_input_comes_to(house: House) -> None:
    await quoted(house, RESOLUTION)
    for each, credits_ in CREDITS.items():
        assert await estimate(house, resolution=each) == credits_
    assert await estimate(house) == CREDITS["1K"], "what is left out is the default"
    assert (await house.bench.do(prices.present))[NANO] == CREDITS["4K"]


async def test_of_variants_that_an_input_does_not_name_the_dearest_is_held(house: House) -> None:
    shapes = [
        {"when": {"aspect_ratio": shape, "resolution": "2K"}, "price": price, "unit": "image"}
        for shape, price in (("16:9", 0.3), ("21:9", 0.1))
    ]
    await quoted(house, {"kind": "variants", "variants": shapes})
    assert await estimate(house, resolution="2K", aspect_ratio="21:9") == 200_000
    assert await estimate(house, resolution="2K") == 600_000
    assert await estimate(house, resolution="1K", aspect_ratio="21:9") == 600_000


async def test_each_variant_is_held_and_charged_as_it_is_quoted(house: House) -> None:
    await quoted(house, RESOLUTION)
    with capture_logs() as logs:
        for each, credits_ in CREDITS.items():
            row = await spend(house, resolution=each)
            assert (row["status"], row["estimate"], row["charged"]) == (
                "succeeded",
                credits_,
                credits_,
            )
    assert [line for line in logs if line["event"] == "price.drift"] == []


async def test_a_call_begins_on_no_hold_that_is_less_than_its_own_variant(house: House) -> None:
    await quoted(house, RESOLUTION)
    row = await spend(house, held=CREDITS["1K"], resolution="4K")
    assert (row["status"], row["estimate"], row["charged"]) == (
        "succeeded",
        CREDITS["4K"],
        CREDITS["4K"],
    )
    row = await spend(house, held=CREDITS["1K"], resolution="1K")
    assert row["estimate"] == CREDITS["1K"], "another variant's price is none of its own"


async def test_what_was_held_too_dearly_is_charged_as_told_and_teaches_nothing(
    house: House,
) -> None:
    await quoted(house, RESOLUTION)
    for _ in range(3):
        row = await spend(house, held=CREDITS["4K"], resolution="2K")
        assert (row["held"], row["charged"]) == (0, CREDITS["2K"])
    assert await estimate(house, resolution="1K") == CREDITS["1K"]


async def test_an_answer_that_has_not_changed_is_not_read_again_and_still_replaces(
    house: House,
) -> None:
    await quoted(house, RESOLUTION)
    etag = house.reader.quoted.etag
    assert etag is not None
    await house.bench.run("UPDATE prices SET taught = 10 * quoted WHERE model = :m", m=NANO)
    assert await estimate(house, resolution="1K") == 10 * CREDITS["4K"]
    with capture_logs() as logs:
        await pricing.run(house.reader)
    assert [line for line in logs if line["event"] == "price.quotes"] == []
    assert house.reader.quoted.etag == etag
    assert await estimate(house, resolution="1K") == CREDITS["1K"]


async def test_a_model_priced_by_token_is_called_when_the_operator_says_what_is_held(
    house: House,
) -> None:
    await quoted(house, TOKENS)
    with pytest.raises(ModelUnavailable, match="the provider quotes no price"):
        await estimate(house)
    await house.bench.do(lambda tx: prices.allow(tx, NANO, 300_000))
    assert await estimate(house) == 300_000
    for charged in (60_000, 61_000, 61_000, 61_000, 300_000):
        house.provider.world.change({"price": charged})
        row = await spend(house)
        assert (row["status"], row["estimate"], row["charged"]) == ("succeeded", 300_000, charged)
    assert await estimate(house) == 300_000, "what is within the cap teaches nothing"
    house.provider.world.change({"price": 900_000})
    row = await spend(house)
    assert (row["status"], row["charged"], row["held"]) == ("succeeded", 0, 300_000), "doubted"
    await house.bench.do(lambda tx: prices.allow(tx, NANO, None))
    with pytest.raises(ModelUnavailable):
        await estimate(house)


async def test_a_quote_goes_before_what_an_operator_allowed(house: House) -> None:
    await quoted(house, TOKENS)
    await house.bench.do(lambda tx: prices.allow(tx, NANO, 300_000))
    await quoted(house, RESOLUTION)
    assert await estimate(house, resolution="1K") == CREDITS["1K"]
    with pytest.raises(Conflict, match="has a price"):
        await house.bench.do(lambda tx: prices.allow(tx, NANO, 1))
    for name, refusal in ((spending.MODEL, Conflict), ("x/y", NotFound)):
        with pytest.raises(refusal):
            await house.bench.do(partial(prices.allow, model_id=name, hold=1))
    lines = await house.bench.rows(
        "SELECT before, after FROM audit_log WHERE action = 'model.allowed'"
    )
    assert [(row["before"], row["after"]) for row in lines] == [({"hold": None}, {"hold": 300_000})]


async def test_every_model_is_called_in_its_dialect_and_charged_as_it_is_quoted(
    house: House,
) -> None:
    """One image of each, of several sizes and shapes, at a price of its own: both ledgers are equal."""
    models = catalog.models()
    tariffs = {
        model.id: {
            "kind": "fixed",
            "units": [{"unit": "image", "per": 1, "price": 0.04 + n / 1000}],
        }
        for n, model in enumerate(models)
    }
    house.provider.world.change({"tariffs": tariffs})
    await pricing.run(house.reader)
    learned = await house.bench.do(prices.present)
    assert len(set(learned.values())) == len(models)
    made = {}
    for model in models:
        raw = catalog.check(sample(model)).input
        made[model.id] = await house.submit(
            model=model.id, input=raw, estimate=learned[model.id], max_cost=10**9
        )
    while await house.work():
        pass
    for name, job_id in made.items():
        row = await house.bench.job(job_id)
        assert (row["status"], row["charged"]) == ("succeeded", learned[name]), name
    calls = {call.model: call for call in house.provider.world.calls.all}
    assert calls.keys() == made.keys()
    assert all(call.charged == learned[name] for name, call in calls.items())
