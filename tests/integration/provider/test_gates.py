"""One prompt or one project stops nobody else: a gate to all needs the account, or several projects."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from deploy.simulator import Running
from models import jobs
from models.accounts.callers import Caller
from models.coordination import workers
from models.platform.db import Database
from models.platform.vault import Vault
from models.provider import pauses
from models.settings import Settings
from tests.conftest import make_project
from tests.fixtures import spending
from tests.fixtures.making import Bench
from tests.fixtures.spending import House
from worker.dispatcher.duties import dispatching, measuring, parking

ERRORS = 4
EDGE = (
    "A proxy in front of the provider refused this request (HTTP status 403): Attention Required! | "
    "Cloudflare - Sorry, you have been blocked - You are unable to access aimlapi.com"
)


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    ours = {"breaker_errors": ERRORS, "worker_seen": 3600.0}
    async with spending.opened(settings, database, caller, provider, **ours) as opened:
        yield opened


@pytest.fixture
async def other(house: House, vault: Vault) -> House:
    """Another project of the same Darkroom."""
    caller, _ = await make_project(house.bench.database, vault, "other")
    return replace(house, bench=Bench(house.bench.database, house.bench.presenter, caller))


async def gates(house: House) -> list[tuple[str, UUID | None]]:
    rows = await house.bench.rows("SELECT reason, project_id FROM gates ORDER BY 1, 2")
    return [(row["reason"], row["project_id"]) for row in rows]


async def settle_down(house: House) -> None:
    """Let dispatcher and worker go on until nothing moves any more; no time passes for the gates."""
    for _ in range(20):
        await parking.run(house.reader)
        await house.bench.run("UPDATE jobs SET run_after = now() WHERE waiting_reason = 'backoff'")
        if not await house.work():
            return


async def probe(house: House) -> int:
    """Let a gate's time come, and its probe have its outcome; returns how many calls were made."""
    await house.bench.run(
        "UPDATE gates SET checked_at = now() - interval '10 min' WHERE half_open_at IS NULL"
    )
    await house.bench.run("UPDATE jobs SET run_after = now() WHERE waiting_reason = 'backoff'")
    await parking.run(house.reader)
    ran = await house.work()
    await parking.run(house.reader)
    return ran


async def statuses(house: House, *made: UUID) -> list[str]:
    return [(await house.bench.job(each))["status"] for each in made]


async def error(house: House, job: UUID) -> tuple[str, str]:
    told = (await house.bench.job(job))["error"]
    return told["code"], told["message"]


async def close(house: House, reason: str) -> None:
    await house.bench.run("INSERT INTO gates (reason) VALUES (:reason)", reason=reason)


def calls_by_job(house: House) -> Counter[str]:
    ids = [call.client_request_id or "" for call in house.provider.world.calls.all]
    return Counter(each.rpartition(":")[0] for each in ids)


@pytest.mark.parametrize(
    ("play", "says"),
    [
        ("403_other", "Please verify your account"),
        (
            "403_html",
            EDGE,
        ),
    ],
)
async def test_a_prompt_that_is_refused_with_403_fails_alone_in_the_providers_words(
    house: House, other: House, play: str, says: str
) -> None:
    bad = [await house.submit(play) for _ in range(8)]
    good = [await other.submit() for _ in range(4)]
    await settle_down(house)
    assert await gates(house) == []
    assert await statuses(house, *good) == ["succeeded"] * 4
    assert await statuses(house, *bad) == ["failed"] * 8
    assert await error(house, bad[0]) == ("invalid_input", says)
    assert max(calls_by_job(house).values()) == 1
    assert house.provider.world.account_requests <= 2  # those that were answered together ask once


async def test_a_403_is_about_the_key_when_the_account_refuses_it_too(house: House) -> None:
    house.provider.world.change({"account_fault": "403"})
    job = await house.submit("403_other, ok")
    await settle_down(house)
    assert await gates(house) == [("provider_key", None)]
    assert await statuses(house, job) == ["queued"]
    house.provider.world.change({"account_fault": ""})
    await probe(house)
    assert await gates(house) == []
    assert await statuses(house, job) == ["succeeded"]


async def test_a_403_that_nobody_can_confirm_is_tried_again_and_ends(house: House) -> None:
    house.provider.world.change({"account_fault": "500"})
    job, good = await house.submit("403_other", max_attempts=3), await house.submit()
    await settle_down(house)
    assert await gates(house) == []
    assert await statuses(house, job, good) == ["failed", "succeeded"]
    assert (await error(house, job))[0] == "attempts_exhausted"
    made = await house.bench.attempts(job)
    assert [row["error"]["message"] for row in made] == ["Please verify your account"] * 3


async def test_no_job_is_the_probe_twice_while_another_waits(house: House) -> None:
    house.provider.world.change({"key": "another"})  # ours reads the account, and makes nothing
    await close(house, "provider_key")
    made = [await house.submit() for _ in range(4)]
    assert [await probe(house) for _ in range(4)] == [1] * 4
    assert sorted(calls_by_job(house).values()) == [1] * 4
    assert await statuses(house, *made) == ["queued"] * 4


@pytest.mark.parametrize(
    ("play", "shut"), [("401", "provider_key"), ("500", "provider_down")], ids=["key", "down"]
)
async def test_the_job_that_closed_a_gate_is_not_its_probe_while_another_waits(
    house: House, play: str, shut: str
) -> None:
    bad = await house.submit(play)
    for _ in range(ERRORS if play == "500" else 1):
        await house.bench.run("UPDATE jobs SET run_after = now()")
        await house.work()
    assert [reason for reason, _ in await gates(house)] == [shut]
    called = sum(calls_by_job(house).values())
    good = await house.submit()
    assert await probe(house) == 1
    assert await statuses(house, bad, good) == ["queued", "succeeded"]
    assert sum(calls_by_job(house).values()) == called + 1
    assert await gates(house) == []


async def test_a_prompt_that_makes_a_401_closes_the_gate_once(house: House, other: House) -> None:
    bad = await house.submit("401", max_attempts=3)
    await house.work()
    assert await gates(house) == [("provider_key", None)]
    first = await other.submit()
    await probe(house)
    assert await gates(house) == []
    good = [await other.submit() for _ in range(2)]
    for _ in range(3):
        await house.bench.run("UPDATE jobs SET run_after = now() WHERE waiting_reason = 'backoff'")
        await house.work()
        assert await gates(house) == []
    assert await statuses(house, first, *good) == ["succeeded"] * 3
    assert (await error(house, bad))[0] == "attempts_exhausted"
    assert [row["outcome"] for row in await house.bench.attempts(bad)] == ["parked"] * 4


async def test_a_key_that_serves_nobody_any_more_closes_the_gate_again(house: House) -> None:
    bad = await house.submit("401")
    await house.work()
    await house.submit()
    await probe(house)
    house.provider.world.change({"key": "another"})
    good = await house.submit()
    await house.work()
    assert await gates(house) == [("provider_key", None)]
    assert await statuses(house, bad, good) == ["queued"] * 2


async def test_a_gate_waits_a_minute_at_most_for_a_job_that_may_not_run(
    house: House, other: House
) -> None:
    bad = await house.submit("401, ok")
    await house.work()
    await other.submit()
    async with house.bench.database.transaction() as tx:
        await pauses.pause(tx, "project", str(other.bench.caller.project_id))
    assert await probe(house) == 0
    await house.bench.run("UPDATE gates SET half_open_at = half_open_at - interval '61 s'")
    assert await probe(house) == 1
    assert await statuses(house, bad) == ["succeeded"]
    assert await gates(house) == []


async def test_a_job_that_is_alone_uses_up_its_tries(house: House) -> None:
    house.provider.world.change({"key": "another"})
    job = await house.submit(max_attempts=3)
    await house.work()
    assert await gates(house) == [("provider_key", None)]
    for _ in range(12):
        await probe(house)
    assert (await error(house, job))[0] == "attempts_exhausted"
    assert sum(calls_by_job(house).values()) == 4  # the first was no probe
    assert await gates(house) == [("provider_key", None)]


async def test_what_one_project_meets_closes_the_gate_to_it_alone(
    house: House, other: House
) -> None:
    bad = [await house.submit("500") for _ in range(3 * ERRORS)]
    await house.work()
    mine = house.bench.caller.project_id
    assert await gates(house) == [("provider_down", mine)]
    good = [await other.submit() for _ in range(3)]
    await settle_down(house)
    assert await statuses(house, *good) == ["succeeded"] * 3
    quiet = await other.submit()
    async with house.bench.database.transaction() as tx:
        told = await jobs.explain(tx, house.settings, mine, bad[-1])
        shown = await jobs.read(tx, mine, bad[-1])
        free = await jobs.explain(tx, house.settings, other.bench.caller.project_id, quiet)
    assert told["waiting_reason"] == "provider_down"
    assert "Calls of this project" in str(told["message"])
    assert shown.show(house.bench.presenter)["waiting_reason"] == "provider_down"
    assert free["waiting_reason"] == "queue"
    await measuring.run(house.reader.dispatcher)
    read = REGISTRY.get_sample_value
    assert read("darkroom_gate_closed", {"reason": "provider_down"}) == 0
    assert read("darkroom_project_gates_closed", {"reason": "provider_down"}) == 1
    before = sum(calls_by_job(house).values())
    assert await probe(house) == 2  # its probe, and the other project's job
    assert sum(calls_by_job(house).values()) == before + 2
    await house.bench.run("UPDATE jobs SET input = replace(input::text, '500', 'ok')::jsonb")
    await probe(house)
    assert await gates(house) == []


async def test_what_several_projects_meet_closes_it_to_all(house: House, other: House) -> None:
    for each in (house, other):
        for _ in range(ERRORS // 2):
            await each.submit("500")
    await house.work()
    assert await gates(house) == [("provider_down", None)]


async def test_one_project_and_anothers_single_error_close_it_to_one(
    house: House, other: House
) -> None:
    for _ in range(5 * ERRORS):
        await house.submit("500")
    await other.submit("500")
    await house.work()
    assert await gates(house) == [("provider_down", house.bench.caller.project_id)]


async def test_after_one_projects_refused_probe_the_next_is_another_projects(
    house: House, other: House
) -> None:
    poison = [await house.submit("500") for _ in range(3)]
    good = await other.submit()
    await other.bench.change(good, "rank = rank + interval '1 h'")
    await house.bench.run(
        "INSERT INTO turns (project_id, turn) SELECT id, CASE name WHEN 'other' THEN 9 ELSE 0 END "
        "FROM projects ON CONFLICT (project_id) DO UPDATE SET turn = excluded.turn"
    )
    await close(house, "provider_down")
    assert await probe(house) == 1
    assert sorted([(await house.bench.job(each))["attempt"] for each in poison]) == [0, 0, 1]
    assert await gates(house) == [("provider_down", None)]
    assert await house.work() == 1  # at once, and no patience is waited for
    assert await statuses(house, good) == ["succeeded"]
    await parking.run(house.reader)
    assert await gates(house) == []


async def test_an_edge_that_refuses_a_probe_says_nothing_of_the_provider(house: House) -> None:
    bad, good = await house.submit("403_html"), await house.submit()
    await close(house, "provider_down")
    assert await probe(house) == 1
    assert await statuses(house, bad) == ["failed"]
    assert await gates(house) == [("provider_down", None)]
    await house.work()
    await parking.run(house.reader)
    assert await statuses(house, good) == ["succeeded"]
    assert await gates(house) == []


async def test_two_dispatchers_send_one_probe_and_judge_it_once(house: House, other: House) -> None:
    made = [await each.submit() for each in (house, other) for _ in range(5)]
    await close(house, "provider_down")
    await house.bench.run(
        "INSERT INTO gates (reason, project_id) SELECT 'provider_down', id FROM projects"
    )
    await house.bench.run("UPDATE gates SET checked_at = now() - interval '10 min'")
    second = await house.dispatcher("dispatcher-2")
    await asyncio.gather(*(parking.run(each) for each in (house.reader, second) * 3))
    await asyncio.gather(
        *(
            dispatching.run(each.dispatcher, dispatching.Last())
            for each in (house.reader, second) * 3
        )
    )
    assert (await statuses(house, *made)).count("released") == 1
    async with house.bench.database.transaction() as tx:
        await workers.report(tx, "worker-1", generate_slots=64, deliver_slots=1, draining=False)
    await house.work()
    await asyncio.gather(*(parking.run(each) for each in (house.reader, second) * 3))
    left = await gates(house)
    assert len(left) == 1  # that of the project that was not the probe's
    assert left[0][1] is not None


async def test_a_wallet_that_no_account_confirms_holds_one_project(
    house: House, other: House
) -> None:
    house.provider.world.change({"account_fault": "500"})
    liar, good = await house.submit("403_credits"), await other.submit()
    await settle_down(house)
    assert await gates(house) == [("wallet_empty", house.bench.caller.project_id)]
    assert await statuses(house, liar, good) == ["queued", "succeeded"]
