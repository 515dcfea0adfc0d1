"""Pages of the provider's account that lead nowhere or are ahead of time: read once, nothing guessed."""

import asyncio

from tests.fixtures.lies import settle
from tests.fixtures.spending import CHARGED, FREE, HOUR, House
from worker.dispatcher.account import matching, reconciling
from worker.dispatcher.account.matching import Reported

_SOON = 20.0  # seconds; without an end it is a minute until the requests of one are used up


async def test_pages_that_come_again_are_read_once_and_settle_what_they_show(house: House) -> None:
    lost, free = await house.spend(CHARGED, FREE)
    house.provider.world.change({"account_fault": "loop"})
    for _ in range(3):
        await house.age(HOUR)
        before = house.log_requests
        async with asyncio.timeout(_SOON):
            await reconciling.run(house.reader)
            await matching.run(house.reader, Reported())
        assert house.log_requests - before <= 3
    assert await house.charges(lost, free) == ["settled", "unknown"]
    lines = await house.bench.rows("SELECT nth FROM account_lines")
    assert [row["nth"] for row in lines] == [1], "a page that comes again charges nobody twice"
    house.provider.world.change({"account_fault": ""})
    await settle(house)
    assert await house.charges(lost, free) == ["settled", "released"]


async def test_a_row_of_another_century_proves_no_absence(house: House) -> None:
    house.provider.world.change({"account_fault": "ahead", "log_lag": 10**6, "charge_lag": 10**6})
    (lost,) = await house.spend(CHARGED)
    for _ in range(6):
        await house.age(HOUR)
        await reconciling.run(house.reader)
        await matching.run(house.reader, Reported())
    assert await house.charge(lost) == "unknown"
    house.provider.world.change({"log_lag": 0, "charge_lag": 0})
    await settle(house)
    assert await house.charge(lost) == "settled"
