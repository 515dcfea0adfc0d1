"""Answers that go wrong in a row close the gate for all; one probe finds out whether it is over."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from deploy.simulator import Running
from models import jobs
from models.accounts.callers import Caller
from models.jobs.attempts import Answer, Ref
from models.platform.db import Database, Transaction
from models.provider import breakers
from models.provider.breakers import Cause
from models.settings import Settings
from tests.conftest import make_settings
from tests.fixtures import spending
from tests.fixtures.making import FREE, IMAGE, LOST, NOT_SENT, PARKED, REFUSED, Bench
from tests.fixtures.spending import FREE as UNCHARGED
from tests.fixtures.spending import House
from worker.dispatcher.duties import measuring, parking

ERRORS, LOSSES = 4, 3
SETTINGS = make_settings(breaker_errors=ERRORS, breaker_lost=LOSSES)
GONE = Answer("refused", "none", error={"code": "invalid_input", "message": "a reference is gone"})


async def fail(bench: Bench, cause: Cause, ref: Ref | None = None) -> int:
    """Let a call go wrong, as a worker writes it down; returns how many did in a row."""
    ref = ref or await bench.running(on_unknown_charge="fail")

    async def write(tx: Transaction) -> int:
        if cause == "lost":
            await jobs.lose(tx, bench.presenter, ref, LOST)
        else:
            await jobs.retry_later(tx, bench.presenter, ref, FREE, timedelta(minutes=1))
        return await breakers.failed(tx, SETTINGS, cause, ref.job_id, ref.number)

    return await bench.do(write)


async def closed(bench: Bench) -> list[tuple[str, str]]:
    rows = await bench.rows("SELECT reason, detail FROM gates")
    return [(row["reason"], row["detail"]) for row in rows]


@pytest.mark.parametrize(("cause", "enough"), [("errors", ERRORS), ("lost", LOSSES)])
async def test_enough_in_a_row_close_the_gate_and_say_so(
    bench: Bench, cause: Cause, enough: int
) -> None:
    assert [await fail(bench, cause) for _ in range(enough - 1)] == [*range(1, enough)]
    assert await closed(bench) == []
    assert await fail(bench, cause) == enough
    ((reason, detail),) = await closed(bench)
    assert reason == "provider_down"
    assert str(enough) in detail


async def test_each_cause_has_its_own_count(bench: Bench) -> None:
    assert [await fail(bench, "errors"), await fail(bench, "errors")] == [1, 2]
    assert [await fail(bench, "lost"), await fail(bench, "lost")] == [1, 2]
    assert await fail(bench, "errors") == 3
    assert await closed(bench) == []
    assert await bench.do(breakers.counts) == {"errors": 3, "lost": 2}


async def test_a_proper_answer_breaks_the_row_and_writes_nothing(bench: Bench) -> None:
    for answered in (IMAGE, REFUSED, PARKED):
        ref = await bench.running()
        assert [await fail(bench, "lost"), await fail(bench, "lost")] == [1, 2]
        before = await bench.rows("SELECT *, xmin FROM breakers")
        if answered is IMAGE:
            await bench.receive(ref)
        elif answered is REFUSED:
            await bench.refuse(ref)
        else:
            await bench.park(ref)
            await bench.run("DELETE FROM gates")
        assert await bench.rows("SELECT *, xmin FROM breakers") == before
    assert await fail(bench, "lost") == 1


async def test_what_is_no_answer_of_the_provider_breaks_no_row(bench: Bench) -> None:
    await fail(bench, "lost")
    await bench.retry_later(await bench.running(), NOT_SENT, timedelta(minutes=1))
    await bench.refuse(await bench.running(), GONE)
    assert await fail(bench, "lost") == 2


async def test_an_old_call_says_nothing_after_a_later_one_was_answered(bench: Bench) -> None:
    old = [await bench.running(on_unknown_charge="fail") for _ in range(LOSSES + 1)]
    await fail(bench, "lost", old.pop())
    await bench.receive(await bench.running())
    assert [await fail(bench, "lost", each) for each in old] == [0] * LOSSES
    assert await closed(bench) == []


async def test_calls_that_fail_at_once_are_all_counted(bench: Bench) -> None:
    refs = [await bench.running(on_unknown_charge="fail") for _ in range(8)]
    counted = await asyncio.gather(*(fail(bench, "lost", each) for each in refs))
    assert sorted(counted) == [*range(1, 9)]
    assert len(await closed(bench)) == 1


# With a real worker and the simulator.


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    ours = {"breaker_errors": ERRORS, "breaker_lost": LOSSES, "provider_limit_floor": ERRORS}
    async with spending.opened(settings, database, caller, provider, **ours) as opened:
        yield opened


async def wait(house: House, seconds: float) -> None:
    """Let time pass for the gates, and for jobs that are to be tried again."""
    await house.bench.run(
        "UPDATE gates SET closed_at = closed_at - :s * interval '1 s', "
        "checked_at = checked_at - :s * interval '1 s'",
        s=seconds,
    )
    await house.bench.run("UPDATE jobs SET run_after = now() WHERE waiting_reason = 'backoff'")


async def look(house: House) -> int:
    """Let the dispatcher look at the gates, and dispatch; returns how many calls were made then."""
    await parking.run(house.reader)
    ran = await house.work()
    await parking.run(house.reader)
    return ran


async def statuses(house: House, made: list[UUID]) -> set[str]:
    return {(await house.bench.job(each))["status"] for each in made}


def down(house: House, play: str | None) -> None:
    """Let every call go wrong in this way, or none any more."""
    house.provider.world.change({"rates": {} if play is None else {play: 1.0}})


@pytest.mark.parametrize("play", ["500", "504_uncharged", UNCHARGED])
async def test_while_the_provider_is_down_jobs_wait_and_then_go_on_by_themselves(
    house: House, play: str
) -> None:
    down(house, play)
    plain = {"model": spending.MODEL, "prompt": "a red bicycle"}
    made = [await house.submit(input=plain, input_hash=bytes([n])) for n in range(10)]
    while await house.work():
        pass
    assert [reason for reason, _ in await closed(house.bench)] == ["provider_down"]
    assert len(house.provider.world.calls.all) <= 2 * ERRORS
    async with house.bench.database.transaction() as tx:
        shown = await jobs.read(tx, None, made[-1])
    assert shown.show(house.bench.presenter)["waiting_reason"] == "provider_down"
    assert await look(house) == 0  # not before its time
    await wait(house, 15)
    assert await look(house) == 1  # the probe
    await wait(house, 10)
    assert await look(house) == 0  # it went wrong too: now the gate waits for as long again
    down(house, None)
    await wait(house, 10)
    assert await look(house) == 1
    assert await closed(house.bench) == []
    for _ in range(3):
        await wait(house, 0)
        await house.work()
    # Of those whose answers were lost nobody knows whether they were paid; all others have their image.
    ended = [(await house.bench.job(each))["status"] for each in made]
    assert ended.count("succeeded") == (10 if play == "500" else 10 - ERRORS - 1)
    assert "queued" not in ended


async def test_a_provider_that_cannot_be_reached_closes_the_gate_and_costs_no_try(
    house: House, settings: Settings, database: Database, caller: Caller, provider: Running
) -> None:
    made = [await house.submit(max_attempts=1) for _ in range(ERRORS + 2)]
    absent = {"aimlapi_base_url": "http://127.0.0.1:1", "breaker_errors": ERRORS}
    async with spending.opened(settings, database, caller, provider, **absent) as elsewhere:
        while await elsewhere.work():
            pass
    assert [reason for reason, _ in await closed(house.bench)] == ["provider_down"]
    assert await statuses(house, made) == {"queued"}
    await wait(house, 15)
    assert await look(house) == 1
    await wait(house, 0)
    await house.work()
    assert await statuses(house, made) == {"succeeded"}


@pytest.mark.parametrize("play", ["moderation_400", "wallet_empty"])
async def test_a_proper_answer_to_the_probe_opens_it_even_without_an_image(
    house: House, play: str
) -> None:
    if play == "wallet_empty":
        wallet = house.provider.world.wallet
        wallet.move(-wallet.balance)
    await house.submit("ok" if play == "wallet_empty" else play)
    await house.bench.run(
        "INSERT INTO gates (reason, closed_at, checked_at) "
        "VALUES ('provider_down', now() - interval '1 min', now() - interval '1 min')"
    )
    assert await look(house) == 1
    assert "provider_down" not in dict(await closed(house.bench))


async def test_a_probe_that_meets_the_limit_is_followed_by_the_next(house: House) -> None:
    limited, good = await house.submit("429"), await house.submit("ok")
    await house.bench.run(
        "INSERT INTO gates (reason, closed_at, checked_at) "
        "VALUES ('provider_down', now() - interval '1 min', now() - interval '1 min')"
    )
    assert await look(house) == 1
    assert len(await closed(house.bench)) == 1
    await house.bench.change(limited, "run_after = now() + interval '1 h'")
    assert await look(house) == 1
    assert await closed(house.bench) == []
    assert await statuses(house, [good]) == {"succeeded"}


async def test_what_goes_wrong_is_measured(house: House) -> None:
    await fail(house.bench, "errors")
    await house.bench.run("INSERT INTO gates (reason) VALUES ('provider_down')")
    await measuring.run(house.reader.dispatcher)
    read = REGISTRY.get_sample_value
    assert read("darkroom_breaker_failures", {"cause": "errors"}) == 1
    assert read("darkroom_gate_closed", {"reason": "provider_down"}) == 1
    assert read("darkroom_provider_limit") == ERRORS
    assert read("darkroom_provider_calls") == 0
