"""Every lost charge is found out, whatever the provider's log does meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.simulator import Running
from models.accounts.callers import Caller
from models.coordination import duties
from models.platform.db import Database, Transaction
from models.settings import Settings
from tests.fixtures import spending
from tests.fixtures.spending import CHARGED, DAY, FREE, HOUR, KEY, PRICE, House
from worker.dispatcher.account import accounting, matching, reconciling
from worker.dispatcher.account.accounting import Duty, reserve_request
from worker.dispatcher.account.matching import Reported
from worker.dispatcher.duties import measuring

LAG = timedelta(minutes=15)
SETTLED, RELEASED, UNKNOWN = "settled", "released", "unknown"
LOST = "lost"  # a call that was reset, and never logged


async def look(house: House) -> None:
    await reconciling.run(house.reader)


@pytest.mark.long
async def test_one_page_settles_many_attempts(house: House) -> None:
    paid = await house.spend(*[CHARGED] * 10, *["524_charged"] * 10)
    free = await house.spend(*[FREE] * 10)
    await look(house)
    assert house.log_requests == 1
    assert await house.charges(*paid) == [SETTLED] * 20
    assert await house.charges(*free) == [RELEASED] * 10
    told = await house.events("job.charge_resolved")
    assert sorted(row["job_id"] for row in told) == sorted(paid + free)


async def test_a_settled_attempt_keeps_the_inference_and_the_time_of_its_charge(
    house: House,
) -> None:
    (job,) = await house.spend(CHARGED)
    await house.age(HOUR)
    await look(house)
    (attempt,) = await house.bench.attempts(job)
    (call,) = house.provider.world.calls.all
    assert attempt["inference_id"] == call.inference_id
    booked = await house.bench.rows("SELECT made_at, inference_id FROM ledger WHERE kind='charge'")
    assert abs(booked[0]["made_at"] - call.received_at) < timedelta(milliseconds=2)
    assert booked[0]["inference_id"] == call.inference_id


async def test_a_window_of_several_pages_is_read_to_its_end(house: House) -> None:
    jobs_ = await house.spend(CHARGED, FREE)
    house.strangers(250)
    await look(house)
    assert house.log_requests == 3
    assert await house.charges(*jobs_) == [SETTLED, RELEASED]


async def test_a_log_that_grows_while_it_is_paged_hides_nothing(house: House) -> None:
    jobs_ = await house.spend(*[CHARGED] * 5)
    house.strangers(120)

    async def grow() -> None:
        await until(lambda: house.log_requests > 0)
        house.strangers(150)  # the first page has been read, the second is still to be asked for

    growing = asyncio.create_task(grow())
    await look(house)
    await growing
    assert house.log_requests == 3
    assert await house.charges(*jobs_) == [SETTLED] * 5


async def test_a_log_that_lags_leaves_the_charge_unknown_until_it_has_caught_up(
    house: House,
) -> None:
    house.provider.world.change({"log_lag": 3600})
    (job,) = await house.spend(CHARGED)
    await look(house)
    assert await house.charge(job) == UNKNOWN
    assert (await house.bench.job(job))["held"] == PRICE
    await house.age(2 * HOUR)
    await look(house)
    assert await house.charge(job) == SETTLED
    assert (await house.bench.job(job))["held"] == 0


async def test_a_row_that_comes_out_of_order_is_waited_for(house: House) -> None:
    (job,) = await house.spend(CHARGED)
    await house.spend("ok")
    (late, _) = house.provider.world.calls.all
    late.settled_at = datetime.now(UTC) + 10 * HOUR  # newer rows are shown, this one is not
    await house.age(HOUR)
    await look(house)
    assert await house.charge(job) == UNKNOWN
    assert (await house.bench.attempts(job))[0]["absent_at"] is not None
    late.settled_at = late.received_at
    await look(house)
    assert await house.charge(job) == SETTLED


@pytest.mark.parametrize("newer", ["ours", "strangers"])
async def test_absence_is_believed_two_lags_after_the_call_or_four_if_only_others_called_since(
    house: House, newer: str
) -> None:
    (job,) = await house.spend(LOST)
    if newer == "ours":
        await house.spend("ok")
    else:
        house.strangers(1, after=HOUR / 2, named="theirs")

    async def seen_after(age: timedelta) -> tuple[str, bool]:
        await house.age(age)
        await look(house)
        (attempt,) = await house.bench.attempts(job)
        return attempt["charge"], attempt["absent_at"] is not None

    call = accounting.longest_call(house.settings)
    assert await seen_after(call + LAG * 0.9) == (UNKNOWN, False)
    assert await seen_after(LAG * 0.2) == (UNKNOWN, True)
    assert await seen_after(LAG * 0.8) == (UNKNOWN, True)
    assert await seen_after(LAG * 0.3) == (RELEASED if newer == "ours" else UNKNOWN, True)
    assert await seen_after(LAG * 1.7) == (RELEASED if newer == "ours" else UNKNOWN, True)
    assert await seen_after(LAG * 0.2) == (RELEASED, True)
    assert len(await house.events("job.charge_resolved")) == 1
    assert (await house.bench.job(job))["held"] == 0


async def test_two_looks_at_once_are_not_enough_however_old_an_attempt_is(house: House) -> None:
    (job,) = await house.spend(LOST)
    await house.spend("ok")
    await house.age(10 * HOUR)
    await look(house)
    await look(house)
    assert await house.charge(job) == UNKNOWN
    await house.age(LAG)
    await look(house)
    assert await house.charge(job) == RELEASED


async def test_absence_proves_nothing_while_the_log_shows_no_newer_row(house: House) -> None:
    await house.spend("ok")
    (job,) = await house.spend(LOST)
    for _ in range(3):
        await house.age(2 * HOUR)
        await look(house)
    assert await house.charge(job) == UNKNOWN
    # On a quiet account the next call comes hours later.
    await house.spend("ok")
    await look(house)
    await house.age(HOUR)
    await look(house)
    assert await house.charge(job) == RELEASED


async def test_a_log_that_is_down_at_the_second_look_releases_nothing(house: House) -> None:
    (job,) = await house.spend(LOST)
    await house.spend("ok")
    await house.age(HOUR)
    await look(house)
    await house.age(HOUR)
    house.provider.world.change({"account_fault": "500"})
    await look(house)
    assert await house.charge(job) == UNKNOWN


async def test_a_row_found_late_settles_what_was_believed_free(house: House) -> None:
    (job,) = await house.spend(CHARGED)
    await house.spend("ok")
    (hidden, _) = house.provider.world.calls.all
    hidden.logged = False
    moved = house.provider.world.wallet.entries.pop(1)
    for _ in range(2):
        await house.age(2 * HOUR)
        await look(house)
    assert await house.charge(job) == RELEASED
    await reconciling.recheck(house.reader)
    assert await house.charge(job) == RELEASED
    hidden.logged = True
    house.provider.world.wallet.entries.insert(1, replace(moved, created_at=hidden.received_at))
    await look(house)  # nothing is unknown any more: only the second look finds it
    assert await house.charge(job) == RELEASED
    await reconciling.recheck(house.reader)
    assert await house.charge(job) == SETTLED
    assert await house.bench.ledger(job) == [
        (1, "hold", PRICE), (1, "release", -PRICE), (1, "charge", PRICE),
    ]  # fmt: skip
    assert len(await house.events("job.charge_resolved")) == 2


async def test_an_odd_row_hides_none_of_its_neighbours(house: House) -> None:
    paid, odd, free = await house.spend(CHARGED, f"{CHARGED}+odd_row", FREE)
    house.strangers(150, odd=range(0, 150, 7))
    await look(house)
    assert await house.charges(paid, odd, free) == [SETTLED, SETTLED, RELEASED]  # by the ledger
    assert house.log_requests == 2


@pytest.mark.parametrize("fault", ["500", "429", "reset"])
async def test_a_log_that_is_down_leaves_everything_as_it_is(house: House, fault: str) -> None:
    jobs_ = await house.spend(CHARGED, FREE)
    house.provider.world.change({"account_fault": fault})
    await look(house)
    assert await house.charges(*jobs_) == [UNKNOWN, UNKNOWN]
    house.provider.world.change({"account_fault": ""})
    await look(house)
    assert await house.charges(*jobs_) == [SETTLED, RELEASED]


async def test_a_log_that_is_down_is_not_hammered(house: House) -> None:
    for _ in range(10):  # ten windows
        await house.spend(CHARGED)
        await house.age(HOUR)
    house.provider.world.change({"account_fault": "500"})
    before = house.provider.world.account_requests
    await look(house)
    assert house.provider.world.account_requests - before == 3


async def test_a_log_that_refuses_in_the_middle_of_a_window_is_read_again_later(
    house: House,
) -> None:
    jobs_ = await house.spend(CHARGED, LOST)
    await house.spend("ok")
    house.strangers(150)
    await house.age(DAY)
    house.provider.world.change({"log_requests": 1})
    await look(house)
    assert await house.charges(*jobs_) == [UNKNOWN, UNKNOWN]
    house.provider.world.change({"log_requests": 200})
    await look(house)
    assert await house.charges(*jobs_) == [SETTLED, UNKNOWN]


async def test_a_key_that_was_retired_is_still_asked_for_its_own_calls(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> None:
    async with spending.opened(settings, database, caller, provider) as before:
        paid, free = await before.spend(CHARGED, FREE)
    provider.world.change({"key": "the-new-key"})
    keys = {"aimlapi_key": "the-new-key", "aimlapi_keys_old": KEY}
    async with spending.opened(settings, database, caller, provider, **keys) as house:
        await house.spend("ok", CHARGED)
        await look(house)
        assert await house.charges(paid, free) == [SETTLED, RELEASED]


async def test_a_key_that_is_unknown_leaves_the_charge_unknown_and_says_so(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> None:
    async with spending.opened(settings, database, caller, provider) as before:
        (job,) = await before.spend(CHARGED)
    provider.world.change({"key": "the-new-key"})
    async with spending.opened(
        settings, database, caller, provider, aimlapi_key="the-new-key"
    ) as house:
        await house.spend("ok")
        for _ in range(3):
            await house.age(10 * HOUR)
            with capture_logs() as logs:
                await look(house)
        assert await house.charge(job) == UNKNOWN
        said = [line for line in logs if line["event"] == "reconcile.key_unknown"]
        assert [(line["key_prefix"], line["attempts"]) for line in said] == [(KEY[:8], 1)]
        await measuring.run(house.reader.dispatcher)
        assert left_to_operator("key_unknown") == 1


async def test_keys_that_begin_alike_are_all_asked(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> None:
    alike = f"{KEY[:8]}-another"
    async with spending.opened(settings, database, caller, provider) as before:
        paid, _ = await before.spend(CHARGED, "ok")
    provider.world.change({"key": alike})
    keys = {"aimlapi_key": alike, "aimlapi_keys_old": KEY}
    async with spending.opened(settings, database, caller, provider, **keys) as house:
        await house.spend("ok")
        await house.age(10 * HOUR)
        await look(house)
        assert await house.charge(paid) == SETTLED


async def test_what_the_log_forgets_soon_is_left_to_the_operator(house: House) -> None:
    (job,) = await house.spend(CHARGED)
    await house.age(91 * DAY)
    before = house.provider.world.account_requests
    await look(house)
    assert house.provider.world.account_requests == before
    assert await house.charge(job) == UNKNOWN
    await measuring.run(house.reader.dispatcher)
    assert left_to_operator("too_old") == 1


@pytest.mark.parametrize("script", ["no_price", "524_charged", "half_silent"])
async def test_the_ledger_of_the_account_settles_what_the_log_does_not_show(
    house: House, script: str
) -> None:
    house.provider.world.change({"log_lag": 3600})
    (job,) = await house.spend(script)
    (attempt,) = await house.bench.attempts(job)
    assert (attempt["charge"], attempt["inference_id"] is None) == (UNKNOWN, False)
    house.strangers(250)  # the cursor must come back verbatim, twice
    await look(house)
    assert await house.charge(job) == SETTLED
    assert len(await house.events("job.charge_resolved")) == 1


async def test_the_ledger_of_the_account_knows_the_calls_of_an_unknown_key(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> None:
    async with spending.opened(settings, database, caller, provider) as before:
        (job,) = await before.spend("524_charged")
    provider.world.change({"key": "the-new-key"})
    async with spending.opened(
        settings, database, caller, provider, aimlapi_key="the-new-key"
    ) as house:
        await look(house)
        assert await house.charge(job) == SETTLED


async def test_a_charge_that_has_not_landed_is_not_taken_for_free(house: House) -> None:
    house.provider.world.change({"log_lag": 3600, "charge_lag": 3600})
    (job,) = await house.spend("524_charged")
    await look(house)
    assert await house.charge(job) == UNKNOWN
    house.provider.world.change({"charge_lag": 0})
    await look(house)
    assert await house.charge(job) == SETTLED


async def test_charges_of_nobody_are_counted_and_stop_nothing(house: House) -> None:
    jobs_ = await house.spend("ok", CHARGED)
    await look(house)
    house.strangers(3)
    reported = Reported()
    with capture_logs() as logs:
        await matching.run(house.reader, reported)
        assert unmatched() == 0  # younger than the lag: the log may still explain them
        await house.age(HOUR)
        await matching.run(house.reader, reported)
        await matching.run(house.reader, reported)
    assert unmatched() == 3
    said = [line for line in logs if line["event"] == "charges.unmatched"]
    assert [(line["charges"], line["credits"]) for line in said] == [(3, 3 * PRICE)]
    assert await house.charges(*jobs_) == [SETTLED, SETTLED]
    await house.age(2 * DAY)
    await matching.run(house.reader, Reported())
    assert unmatched() == 0  # of the last day


@pytest.mark.parametrize("believed", [UNKNOWN, RELEASED])
async def test_a_lost_call_of_ours_is_no_strangers_charge(house: House, believed: str) -> None:
    (job,) = await house.spend(CHARGED)
    if believed == RELEASED:
        await house.bench.resolve(job)  # somebody says that it was free
    await house.age(HOUR)
    await look(house)
    await matching.run(house.reader, Reported())
    assert unmatched() == 0
    assert await house.charge(job) == SETTLED


async def test_no_charge_is_guessed_to_be_a_calls_that_the_log_may_yet_name(house: House) -> None:
    (job,) = await house.spend(FREE)
    house.strangers(1)
    await house.age(HOUR)
    await matching.run(house.reader, Reported())
    assert await house.charge(job) == UNKNOWN


async def test_charges_from_before_our_first_call_are_not_counted(house: House) -> None:
    house.strangers(2)
    await house.age(2 * HOUR)
    await matching.run(house.reader, Reported())
    assert unmatched() == 0
    await house.spend("ok")
    await house.age(HOUR)
    await matching.run(house.reader, Reported())
    assert unmatched() == 0


async def test_an_account_that_is_down_shows_no_stale_count(house: House) -> None:
    await house.spend("ok")
    house.strangers(1)
    await house.age(HOUR)
    reported = Reported()
    await matching.run(house.reader, reported)
    assert unmatched() == 1
    house.provider.world.change({"account_fault": "500"})
    await matching.run(house.reader, reported)
    assert unmatched() == 0
    house.provider.world.change({"account_fault": ""})
    await matching.run(house.reader, reported)
    assert unmatched() == 1


async def test_a_job_that_waited_for_its_charge_goes_on(house: House) -> None:
    paid, free = await house.spend(CHARGED, f"{FREE}, ok", on_unknown_charge="wait")
    await look(house)
    while await house.work():
        pass
    assert (await house.bench.job(paid))["error"]["code"] == "paid_without_image"
    assert (await house.bench.job(free))["status"] == "succeeded"


async def test_of_several_dispatchers_one_asks_and_each_charge_is_told_once(house: House) -> None:
    jobs_ = await house.spend(*[CHARGED] * 20)
    crowd = [await house.dispatcher(f"dispatcher-{n}") for n in range(5)]
    await asyncio.gather(*(reconciling.run(reader) for reader in crowd))
    assert house.log_requests == 1
    assert await house.charges(*jobs_) == [SETTLED] * 20
    assert len(await house.events("job.charge_resolved")) == 20


async def test_a_dispatcher_that_died_is_followed_when_its_lease_ends(house: House) -> None:
    (job,) = await house.spend(CHARGED)
    assert await reserve_request(await house.dispatcher("the-dead"), "reconcile")
    await look(house)
    assert await house.charge(job) == UNKNOWN
    await house.bench.run("UPDATE duties SET lease_until = now() - interval '1 s'")
    await look(house)
    assert await house.charge(job) == SETTLED


async def test_all_processes_together_never_exceed_the_providers_patience(house: House) -> None:
    duties_: tuple[Duty, ...] = ("wallet", "prices", "reconcile", "statement")
    granted: list[Duty] = []

    async def spend(duty: Duty) -> None:
        reader = await house.dispatcher(f"dispatcher-of-{duty}")
        while await reserve_request(reader, duty):
            granted.append(duty)

    async def minute() -> int:
        before = len(granted)
        spenders = [asyncio.create_task(spend(duty)) for duty in duties_ for _ in range(3)]
        await until(lambda: len(granted) >= before + 90)
        assert not await house.bench.do(lambda tx: duties.spend_request(tx, 90))
        for task in spenders:
            task.cancel()
        await asyncio.gather(*spenders, return_exceptions=True)
        return len(granted) - before

    first = await minute()
    await _a_minute_later(house)
    second = await minute()
    # Two of our minutes may lie in one of the provider's.
    assert first == second == 90
    assert first + second <= 200
    assert set(granted) == set(duties_)


async def test_a_window_longer_than_the_minutes_share_is_read_on_in_the_next(
    house: House,
) -> None:
    jobs_ = await house.spend(*[CHARGED] * 3)
    house.strangers(150)
    await house.bench.do(partial(_use_up, most=79))
    turn = asyncio.create_task(reconciling.run(house.reader))
    await until(lambda: house.log_requests > 0)
    assert not await house.bench.do(lambda tx: duties.spend_request(tx, 80))
    assert (house.log_requests, turn.done()) == (1, False)
    await _a_minute_later(house)
    await turn
    assert house.log_requests == 2
    assert await house.charges(*jobs_) == [SETTLED] * 3


async def _a_minute_later(house: House) -> None:
    """Begin a new minute of requests; only their row, for who counts one holds a duty's row already."""
    aged = "UPDATE duties SET window_start = window_start - interval '61 s' WHERE name = :name"
    await house.bench.run(aged, name="provider_requests")


async def _use_up(tx: Transaction, most: int) -> None:
    for _ in range(most):
        assert await duties.spend_request(tx, most)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody rings for what the simulator has seen
        await asyncio.sleep(0)


def unmatched() -> float | None:
    return REGISTRY.get_sample_value("darkroom_provider_unmatched_charges")


def left_to_operator(because: str) -> float | None:
    return REGISTRY.get_sample_value("darkroom_charges_left_to_operator", {"because": because})
