"""An empty wallet or a bad key parks every job, fails none, and all go on by themselves, in order."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.simulator import Running
from models import jobs
from models.accounts.callers import Caller
from models.jobs.attempts import Answer
from models.money import wallet
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings
from models.webhooks import endpoints
from tests.conftest import make_project
from tests.fixtures import spending
from tests.fixtures.spending import CHARGED, KEY, PRICE, House
from worker.dispatcher.account import wallet as purse
from worker.dispatcher.duties import dispatching, measuring, parking, reaping
from worker.provider.outcomes import Image

LOW = 10 * PRICE
LEASE = timedelta(seconds=60)
EVENTS = ("wallet.low", "wallet.empty", "wallet.restored")


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    told = {"wallet_low": LOW, "operator_project": "tests"}
    async with spending.opened(settings, database, caller, provider, **told) as opened:
        yield opened


def fill(house: House, images: float) -> None:
    """Bring the balance to what this many images cost."""
    there = house.provider.world.wallet
    there.move(round(images * PRICE) - there.balance)


async def subscribe(house: House, vault: Vault, project: UUID) -> None:
    async with house.bench.database.transaction() as tx:
        await endpoints.register(
            tx, vault, project, endpoints.Wish("https://example.com/hook", EVENTS)
        )


async def read(house: House) -> None:
    await purse.run(house.reader)


async def told(house: House) -> list[str]:
    rows = await house.bench.rows("SELECT type FROM events WHERE job_id IS NULL ORDER BY id")
    return [row["type"] for row in rows]


async def gates(house: House) -> list[str]:
    return [row["reason"] for row in await house.bench.rows("SELECT reason FROM gates ORDER BY 1")]


async def park(house: House) -> None:
    await parking.run(house.reader)


async def settle_down(house: House) -> None:
    """Let dispatcher and worker go on until nothing moves any more."""
    moved = True
    while moved:
        await park(house)
        moved = await house.work() > 0


async def statuses(house: House, *jobs_: UUID) -> list[str]:
    return [(await house.bench.job(job_id))["status"] for job_id in jobs_]


def refused(house: House) -> int:
    return sum(call.status in {401, 403} for call in house.provider.world.calls.all)


async def test_the_balance_is_kept_and_shown(house: House) -> None:
    await read(house)
    await measuring.run(house.reader.dispatcher)
    balance = house.provider.world.wallet.balance
    assert REGISTRY.get_sample_value("darkroom_wallet_credits") == balance
    assert REGISTRY.get_sample_value("darkroom_wallet_seconds_left") == float("inf")
    (row,) = await house.bench.rows("SELECT credits, state FROM wallet")
    assert (row["credits"], row["state"]) == (balance, "ok")


async def test_the_end_is_forecast_at_the_rate_of_the_last_hour(house: House) -> None:
    await house.spend(*["ok"] * 4)
    fill(house, 20)
    with capture_logs() as logs:
        await read(house)
    assert logs[-1]["seconds_left"] == pytest.approx(5 * 3600)
    await measuring.run(house.reader.dispatcher)
    left = REGISTRY.get_sample_value("darkroom_wallet_seconds_left")
    assert left == pytest.approx(5 * 3600)


async def test_each_change_of_state_is_told_once_to_the_operators_project(
    house: House, vault: Vault
) -> None:
    other, _ = await make_project(house.bench.database, vault, "customer")
    await subscribe(house, vault, house.bench.caller.project_id)
    await subscribe(house, vault, other.project_id)
    for images in (100, 9, 9, 0.5, 0, 9, 10.5, 11, 100):
        fill(house, images)
        await read(house)
    assert await told(house) == ["wallet.low", "wallet.empty", "wallet.low", "wallet.restored"]
    rows = await house.bench.rows("SELECT project_id, job_id, state FROM deliveries")
    whose = {"project_id": house.bench.caller.project_id, "job_id": None, "state": "pending"}
    assert [dict(row) for row in rows] == [whose] * 4


async def test_an_event_says_what_is_left_and_for_how_long(house: House) -> None:
    await house.spend("ok", "ok")
    fill(house, 4)
    await read(house)
    (event,) = await house.events("wallet.low")
    body = json.loads(event["body"])
    assert body["type"] == "wallet.low"
    assert body["data"] == {
        "state": "low",
        "credits": 4 * PRICE,
        "usd": "0.182",
        "last_hour_credits": 2 * PRICE,
        "seconds_left": 7200,
    }


async def test_many_dispatchers_tell_a_change_once(house: House) -> None:
    ready = asyncio.Barrier(12)

    async def note() -> None:
        async with house.bench.database.transaction() as tx:
            await wallet.read(tx)
            await ready.wait()
            await wallet.note(tx, 3 * PRICE, low=LOW, operator="tests")

    await read(house)
    await asyncio.gather(*(note() for _ in range(12)))
    assert await told(house) == ["wallet.low"]


async def test_of_many_dispatchers_one_asks_for_the_balance(house: House) -> None:
    crowd = [await house.dispatcher(f"dispatcher-{n}") for n in range(5)]
    await asyncio.gather(*(purse.run(books) for books in crowd))
    assert house.provider.world.account_requests == 1


@pytest.mark.parametrize("operator", [None, "nobody"])
async def test_without_an_operators_project_there_are_metrics_and_log_lines_only(
    settings: Settings, database: Database, caller: Caller, provider: Running, operator: str | None
) -> None:
    async with spending.opened(
        settings, database, caller, provider, wallet_low=LOW, operator_project=operator
    ) as house:
        fill(house, 2)
        with capture_logs() as logs:
            await read(house)
        assert await told(house) == []
        changed = [line for line in logs if line["event"] == "wallet.changed"]
        assert [(line["state"], line["log_level"]) for line in changed] == [("low", "warning")]


async def test_a_balance_that_cannot_be_read_changes_nothing(house: House) -> None:
    await read(house)
    before = await house.bench.rows("SELECT * FROM wallet")
    house.provider.world.change({"account_fault": "500"})
    await read(house)
    assert await house.bench.rows("SELECT * FROM wallet") == before


async def test_an_empty_wallet_parks_every_job_and_fails_none(house: House) -> None:
    fill(house, 2)
    made = [await house.submit() for _ in range(8)]
    await settle_down(house)
    assert sorted(await statuses(house, *made)) == ["queued"] * 6 + ["succeeded"] * 2
    assert await gates(house) == ["wallet_empty"]
    parked = [job for job in made if await statuses(house, job) == ["queued"]]
    async with house.bench.database.transaction() as tx:
        shown = await jobs.read(tx, None, parked[0])
    assert shown.show(house.bench.presenter)["waiting_reason"] == "wallet_empty"
    # More looks at a wallet that stays empty cost no call.
    calls = len(house.provider.world.calls.all)
    for _ in range(5):
        await settle_down(house)
    assert len(house.provider.world.calls.all) == calls
    fill(house, 100)
    await settle_down(house)
    assert await statuses(house, *made) == ["succeeded"] * 8
    assert await gates(house) == []


async def test_jobs_go_on_in_their_order(house: House) -> None:
    fill(house, 0)
    made = [await house.submit() for _ in range(6)]
    await settle_down(house)
    fill(house, 100)
    before = len(house.provider.world.calls.all)
    await park(house)
    assert await house.work() == 1  # the probe is the first of the queue
    (probe,) = house.provider.world.calls.all[before:]
    first = await house.bench.attempts(made[0])
    assert probe.client_request_id == first[-1]["client_request_id"]
    await park(house)
    released = await house.bench.do(
        lambda tx: jobs.dispatch(tx, 3, lease=LEASE, typical_call=timedelta(0))
    )
    assert {each.job_id for each in released} == set(made[1:4])
    await house.bench.do(lambda tx: jobs.hand_back(tx, released))
    await settle_down(house)
    assert await statuses(house, *made) == ["succeeded"] * 6


async def test_a_wallet_that_runs_dry_refuses_few_calls(house: House) -> None:
    fill(house, 3)
    await read(house)
    made = [await house.submit() for _ in range(40)]
    await settle_down(house)
    assert sorted(await statuses(house, *made)) == ["queued"] * 37 + ["succeeded"] * 3
    assert refused(house) <= 3


@pytest.mark.long
async def test_a_top_up_that_pays_for_little_lets_little_through(house: House) -> None:
    fill(house, 0)
    made = [await house.submit() for _ in range(30)]
    await settle_down(house)
    before = refused(house)
    for paid in (1, 2, 3):
        fill(house, 1)
        await settle_down(house)
        assert (await statuses(house, *made)).count("succeeded") == paid
    assert refused(house) - before <= 3


async def test_only_the_probe_passes_a_half_open_gate(house: House) -> None:
    fill(house, 0)
    made = [await house.submit() for _ in range(10)]
    await settle_down(house)
    fill(house, 100)
    await park(house)
    for _ in range(3):
        await dispatching.run(house.reader.dispatcher, dispatching.Last())
        await park(house)
    assert (await statuses(house, *made)).count("released") == 1
    await settle_down(house)
    assert await statuses(house, *made) == ["succeeded"] * 10


async def test_a_refusal_though_the_balance_is_there_is_that_jobs_affair(house: House) -> None:
    liar, good = await house.submit("403_funds", max_attempts=2), await house.submit()
    for _ in range(3):
        await settle_down(house)
        assert await gates(house) == []
        await house.bench.run("UPDATE jobs SET run_after = now() WHERE waiting_reason = 'backoff'")
    assert await statuses(house, liar, good) == ["failed", "succeeded"]
    job = await house.bench.job(liar)
    assert job["error"]["code"] == "attempts_exhausted"
    made = await house.bench.attempts(liar)
    assert [row["error"]["code"] for row in made] == ["wallet_doubted"] * 2
    assert refused(house) == 2


@pytest.mark.long
async def test_a_refusal_that_no_account_confirms_is_asked_about_less_and_less(
    house: House,
) -> None:
    house.provider.world.change({"account_fault": "500"})
    made = [await house.submit("403_funds") for _ in range(10)]
    await settle_down(house)
    assert await gates(house) == ["wallet_empty"]
    (gate,) = await house.bench.rows("SELECT project_id FROM gates")
    assert gate["project_id"] == house.bench.caller.project_id

    async def probes(*, closed: int, asked: int) -> int:
        """Look a few times at a gate that was closed and last probed so many seconds ago."""
        before = refused(house)
        await house.bench.run(
            "UPDATE gates SET closed_at = now() - :closed * interval '1 s', "
            "checked_at = now() - :asked * interval '1 s', half_open_at = NULL, probe_id = NULL",
            closed=closed, asked=asked,
        )  # fmt: skip
        for _ in range(3):
            await park(house)
            await house.work()
        return refused(house) - before

    assert await probes(closed=100, asked=100) == 1  # at once, and then no second one
    assert await probes(closed=100, asked=40) == 0
    assert await probes(closed=100, asked=60) == 1
    assert await probes(closed=3600, asked=240) == 0
    assert await probes(closed=3600, asked=310) == 1  # five minutes, however long it was closed
    assert await statuses(house, *made) == ["queued"] * 10
    house.provider.world.change({"account_fault": ""})
    await park(house)
    assert await gates(house) == []  # the balance is fine: at once


async def test_a_key_that_may_read_but_not_generate_costs_one_call_a_look(house: House) -> None:
    house.provider.world.change({"key": "another"})  # ours is retired: it still reads the account
    made = [await house.submit() for _ in range(12)]
    await settle_down(house)
    assert await gates(house) == ["provider_key"]
    assert await statuses(house, *made) == ["queued"] * 12
    before = refused(house)
    await park(house)
    await house.work()
    await park(house)
    assert refused(house) <= before + 1
    house.provider.world.change({"key": KEY})
    await house.bench.run(
        "UPDATE gates SET closed_at = closed_at - interval '1 h', "
        "checked_at = checked_at - interval '1 h'"
    )
    await settle_down(house)
    assert await gates(house) == []
    assert await statuses(house, *made) == ["succeeded"] * 12


async def test_a_key_that_reads_nothing_makes_no_probe(house: House) -> None:
    house.provider.world.change({"key": "another"})
    house.provider.world.change({"account_fault": "500"})
    await house.submit()
    await settle_down(house)
    calls = len(house.provider.world.calls.all)
    for _ in range(3):
        await settle_down(house)
    assert len(house.provider.world.calls.all) == calls


async def test_a_refused_input_proves_a_key_and_not_a_wallet(house: House) -> None:
    bad = await house.submit("moderation_400")
    await close(house, "provider_key")
    await park(house)
    await house.work()
    await park(house)
    assert await gates(house) == []
    assert await statuses(house, bad) == ["failed"]
    worse, good = await house.submit("moderation_400"), await house.submit()
    await close(house, "wallet_empty")
    await park(house)
    await house.work()
    await park(house)
    assert await gates(house) == ["wallet_empty"]
    assert await statuses(house, worse, good) == ["failed", "queued"]
    await settle_down(house)
    assert await gates(house) == []
    assert await statuses(house, good) == ["succeeded"]


async def test_a_probe_whose_answer_is_lost_is_followed_by_the_next(house: House) -> None:
    lost, next_ = await house.submit(CHARGED), await house.submit()
    await close(house, "wallet_empty")
    await settle_down(house)
    assert await gates(house) == []
    assert await statuses(house, lost, next_) == ["failed", "succeeded"]


async def test_a_probe_that_never_begins_is_followed_by_the_next(house: House) -> None:
    first, next_ = await house.submit(), await house.submit()
    await close(house, "wallet_empty")
    await park(house)
    await dispatching.run(house.reader.dispatcher, dispatching.Last())
    assert await statuses(house, first, next_) == ["released", "queued"]
    await house.bench.cancel(first)
    await settle_down(house)
    assert await statuses(house, first, next_) == ["canceled", "succeeded"]
    assert await gates(house) == []


async def test_a_probe_whose_message_is_lost_is_sent_again(house: House) -> None:
    job = await house.submit()
    await close(house, "wallet_empty")
    await park(house)
    await dispatching.run(house.reader.dispatcher, dispatching.Last())
    await house.bench.change(job, "lease_until = now() - interval '1 s'")
    await reaping.run(house.reader.dispatcher)
    assert await statuses(house, job) == ["queued"]
    await settle_down(house)
    assert await statuses(house, job) == ["succeeded"]
    assert await gates(house) == []


async def test_two_closed_gates_are_opened_by_one_probe(house: House) -> None:
    job = await house.submit()
    await close(house, "wallet_empty")
    await close(house, "provider_key")
    await settle_down(house)
    assert await gates(house) == []
    assert await statuses(house, job) == ["succeeded"]


async def test_a_gate_that_others_closed_is_not_ours_to_open(house: House) -> None:
    job = await house.submit()
    await close(house, "paused")
    await close(house, "wallet_empty")
    await settle_down(house)
    assert await gates(house) == ["paused", "wallet_empty"]
    assert await statuses(house, job) == ["queued"]
    await house.bench.run("DELETE FROM gates WHERE reason = 'paused'")
    await settle_down(house)
    assert await statuses(house, job) == ["succeeded"]


async def test_a_paid_image_is_kept_while_the_wallet_is_empty(house: House) -> None:
    ref = await house.bench.begin(await house.submit())
    outcome = await house.context.provider.generate(
        {"model": spending.MODEL, "prompt": "a red bicycle"},
        client_request_id=(await house.bench.attempts(ref.job_id))[0]["client_request_id"],
        timeout=LEASE,
    )
    (call,) = house.provider.world.calls.all
    assert isinstance(outcome, Image)
    answer = Answer("image", "settled", PRICE, 200, call.inference_id, outcome.url)
    await house.bench.receive(ref, answer)
    await house.bench.reap(ref.job_id)  # its worker dies, and another keeps the image
    await close(house, "wallet_empty")
    fill(house, 0)
    await read(house)
    await house.work()
    assert await statuses(house, ref.job_id) == ["succeeded"]
    assert await gates(house) == ["wallet_empty"]


async def test_after_a_parked_attempt_the_job_has_all_its_tries(house: House) -> None:
    fill(house, 0)
    job = await house.submit(max_attempts=1)
    await settle_down(house)
    fill(house, 100)
    await settle_down(house)
    made = await house.bench.attempts(job)
    assert [(row["outcome"], row["charge"]) for row in made] == [
        ("parked", "none"),
        ("image", "settled"),
    ]


async def close(house: House, reason: str) -> None:
    await house.bench.run("INSERT INTO gates (reason) VALUES (:reason)", reason=reason)
