"""What the metrics say of jobs, places, connections and troubles is what really is."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from models.accounts import expiring
from models.accounts.callers import Caller
from models.errors import Unavailable
from models.images.storage import Store
from models.images.store_errors import StoreUnavailable
from models.jobs.queue import backlog, demand
from models.jobs.queue.demand import Demand
from models.jobs.view import Presenter
from models.platform import metrics
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.platform.version import VERSION
from models.provider import gates, pauses
from models.settings import Settings
from models.webhooks import endpoints
from tests.fixtures import sending
from tests.fixtures.making import Bench
from worker.dispatcher.duties import measuring
from worker.dispatcher.duty import Dispatcher, repeat
from worker.runtime.app import connect

_ID = re.compile(r"[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MODEL = "bytedance/seedream-5-0-lite-preview"


@pytest.fixture
async def dispatcher(
    settings: Settings, database: Database, presenter: Presenter
) -> AsyncIterator[Dispatcher]:
    async with Doorbell(settings.redis_url.get_secret_value()) as doorbell:
        yield Dispatcher(settings, "dispatcher-1", database, doorbell, connect(settings), presenter)


def value(name: str, **labels: str) -> float:
    """Read one series as Prometheus would; 0 before there is any."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def finished() -> Mapping[str, float]:
    return {
        status: value("darkroom_jobs_finished_total", status=status)
        for status in ("succeeded", "failed", "canceled", "expired")
    }


async def wanted(bench: Bench, limit: int = 40, tries_cap: int = 8) -> Demand:
    return await bench.do(lambda tx: demand.wanted(tx, limit=limit, tries_cap=tries_cap))


@pytest.mark.parametrize("plain", [True, False])
async def test_every_ending_is_counted_once(
    database: Database, presenter: Presenter, caller: Caller, *, plain: bool
) -> None:
    bench = Bench(database, presenter, caller, plain=plain)
    before = finished()
    image = await bench.running(prompt="an image")
    await bench.receive(image)
    await bench.succeed(image)
    await bench.succeed(image)  # a worker that is late changes nothing
    await bench.refuse(await bench.running(prompt="refused"))
    await bench.cancel(await bench.submit(prompt="canceled"))
    await bench.expire(await bench.submit(prompt="late"))
    assert finished() == {status: count + 1 for status, count in before.items()}


async def test_a_follower_and_a_reused_image_count_too(bench: Bench) -> None:
    before = finished()["succeeded"]
    leader = await bench.running(reuse="exact")
    await bench.submit(reuse="exact")
    await bench.receive(leader)
    await bench.succeed(leader)
    await bench.follow_up()
    await bench.submit(reuse="exact")
    assert finished()["succeeded"] == before + 3


async def test_what_is_rolled_back_is_not_counted(bench: Bench) -> None:
    before = finished()

    async def fail_in_a_session() -> None:
        async with bench.database.transaction() as tx:
            tx.tally(lambda: pytest.fail("it was counted"))
            raise ZeroDivisionError

    async def fail_directly() -> None:
        async with bench.database.direct.transaction() as tx:
            tx.tally(lambda: pytest.fail("it was counted"))
            raise ZeroDivisionError

    for fail in (fail_in_a_session, fail_directly):
        with pytest.raises(ZeroDivisionError):
            await fail()
    assert finished() == before


async def test_waiting_and_the_whole_way_are_measured_by_the_databases_clock(bench: Bench) -> None:
    names = ("darkroom_job_wait_seconds_sum", "darkroom_job_seconds_sum")
    wait, whole = value(names[0], priority="bulk"), value(names[1], status="failed")
    ref = await bench.running(priority="bulk")
    await bench.change(
        ref.job_id, "created_at = started_at - interval '90 s', started_at = started_at"
    )
    await bench.refuse(ref)
    assert value(names[0], priority="bulk") - wait == pytest.approx(90, abs=0.01)
    assert 90 <= value(names[1], status="failed") - whole < 150


async def test_a_backlog_behind_the_limit_wants_no_more_places_than_the_limit(bench: Bench) -> None:
    for number in range(7):
        await bench.submit(prompt=f"fox {number}")
    assert await wanted(bench) == Demand(7, 0)
    assert await wanted(bench, limit=4) == Demand(4, 0)
    await bench.running(prompt="runs")
    assert await wanted(bench) == Demand(8, 0)
    assert await wanted(bench, limit=4) == Demand(4, 0)


async def test_what_cannot_run_wants_no_place(bench: Bench, other: Bench) -> None:
    await bench.submit(prompt="due")
    later = await bench.submit(prompt="backoff")
    await bench.change(later, "run_after = now() + interval '1 h', waiting_reason = 'backoff'")
    budget = await bench.submit(prompt="budget")
    await bench.change(budget, "run_after = NULL, waiting_reason = 'budget'")
    await other.submit(prompt="another's")
    assert await wanted(bench) == Demand(2, 0)
    await bench.do(lambda tx: gates.close(tx, "provider_down", "", other.caller.project_id))
    assert await wanted(bench) == Demand(1, 0)
    await bench.do(lambda tx: pauses.pause(tx, "model", MODEL))
    assert await wanted(bench) == Demand(0, 0)


@pytest.mark.parametrize("stop", ["all", "project", "gate"])
async def test_while_calls_are_stopped_only_what_is_under_way_keeps_its_place(
    bench: Bench, stop: str
) -> None:
    await bench.running(prompt="runs")
    await bench.receive(await bench.running(prompt="keeps"))
    await bench.submit(prompt="waits")
    assert await wanted(bench) == Demand(3, 0)
    if stop == "gate":
        await bench.do(lambda tx: gates.close(tx, "storage", "full"))
    else:
        name = "" if stop == "all" else str(bench.caller.project_id)
        await bench.do(lambda tx: pauses.pause(tx, "all" if stop == "all" else "project", name))
    assert await wanted(bench) == Demand(2, 0)


async def test_a_project_wants_no_more_places_than_its_cap(bench: Bench, other: Bench) -> None:
    await bench.run("UPDATE projects SET cap = 2 WHERE id = :id", id=bench.caller.project_id)
    await bench.running(prompt="runs")
    for number in range(5):
        await bench.submit(prompt=f"fox {number}")
    await other.submit(prompt="hen")
    assert await wanted(bench) == Demand(3, 0)
    await bench.run("UPDATE projects SET cap = 4 WHERE id = :id", id=bench.caller.project_id)
    assert await wanted(bench) == Demand(5, 0)


async def test_deliveries_to_one_receiver_want_no_more_places_than_its_lane_has(
    bench: Bench, vault: Vault
) -> None:
    await sending.endpoint(bench, vault)
    for number in range(5):
        await sending.finished(bench, prompt=f"fox {number}")
    assert await wanted(bench, tries_cap=8) == Demand(0, 5)
    assert await wanted(bench, tries_cap=3) == Demand(0, 3)
    await sending.wake(bench, 2, cap=2)
    assert await wanted(bench, tries_cap=8) == Demand(0, 5)  # two are on their way
    await bench.run("UPDATE lanes SET slow = true")
    assert await wanted(bench, tries_cap=8) == Demand(0, 1)
    await bench.run("UPDATE deliveries SET next_at = now() + interval '1 h' WHERE next_at <= now()")
    assert await wanted(bench, tries_cap=8) == Demand(0, 1)  # those on their way, in a slow lane


async def test_waiting_jobs_are_told_by_the_reason_that_they_are_shown_with(
    bench: Bench, dispatcher: Dispatcher
) -> None:
    oldest = await bench.submit(prompt="old", priority="interactive")
    await bench.change(oldest, "created_at = now() - interval '5 min'")
    await bench.submit(prompt="young")
    later = await bench.submit(prompt="backoff")
    await bench.change(
        later,
        "created_at = now() - interval '1 h', run_after = now() + interval '1 h',"
        " waiting_reason = 'backoff'",
    )
    await measuring.run(dispatcher)
    assert value("darkroom_jobs_waiting", reason="queue") == 2
    assert value("darkroom_jobs_waiting", reason="backoff") == 1
    assert value("darkroom_jobs_queued") == 3
    assert value("darkroom_jobs_oldest_queued_seconds") == pytest.approx(3600, abs=30)
    runnable = value("darkroom_jobs_oldest_runnable_seconds", priority="interactive")
    assert runnable == pytest.approx(300, abs=30)
    assert value("darkroom_jobs_oldest_runnable_seconds", priority="standard") < 30
    await bench.do(lambda tx: gates.close(tx, "wallet_empty", ""))
    await measuring.run(dispatcher)
    assert value("darkroom_jobs_waiting", reason="queue") == 0
    assert value("darkroom_jobs_waiting", reason="wallet_empty") == 2
    assert value("darkroom_slots_wanted", kind="generate") == 0


async def test_a_reason_of_the_metrics_is_the_one_of_the_view(bench: Bench) -> None:
    for reason in ("budget", "unknown_charge", "concurrency_key"):
        made = await bench.submit(prompt=reason)
        await bench.change(made, f"run_after = NULL, waiting_reason = '{reason}'")
    counted = await bench.do(backlog.waiting)
    assert {each.reason: each.jobs for each in counted} == {
        "budget": 1, "unknown_charge": 1, "concurrency_key": 1,
    }  # fmt: skip
    assert not any(each.runnable for each in counted)


async def test_the_oldest_unknown_charge_has_its_age(bench: Bench, dispatcher: Dispatcher) -> None:
    await bench.lose(await bench.running(on_unknown_charge="wait"))
    await bench.run("UPDATE attempts SET sent_at = now() - interval '2 h'")
    await measuring.run(dispatcher)
    oldest = value("darkroom_charges_unknown_oldest_seconds")
    assert oldest == pytest.approx(7200, abs=30)
    assert (
        value("darkroom_charges_unknown_expected_seconds") == 3900
    )  # 300 s and four lags of 900 s


async def test_endpoints_that_fail_are_counted_and_those_that_their_project_closed_are_not(
    bench: Bench, vault: Vault
) -> None:
    made = [
        await sending.endpoint(bench, vault, url=f"https://receiver.example/{number}")
        for number in range(4)
    ]
    await bench.run("UPDATE endpoints SET failing_since = now() WHERE id = :id", id=made[1].id)
    await sending.change(bench, made[2], enabled=False)
    await bench.run(
        "UPDATE endpoints SET enabled = false, disabled_reason = 'it failed' WHERE id = :id",
        id=made[3].id,
    )
    assert await bench.do(endpoints.count) == {"working": 1, "failing": 1, "disabled": 1}


async def test_keys_that_end_soon_are_counted_unless_they_were_replaced(
    bench: Bench, database: Database
) -> None:
    week = timedelta(days=7)

    async def count() -> int:
        return await bench.do(lambda tx: expiring.count(tx, week))

    assert await count() == 0
    await bench.run("UPDATE api_keys SET expires_at = now() + interval '3 d'")
    assert await count() == 1
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "INSERT INTO api_keys (id, project_id, name, public_id, secret_hash, scopes, root_id)"
                " SELECT gen_random_uuid(), project_id, name, 'fresh', '', scopes, id FROM api_keys"
            )
        )
    assert await count() == 0


async def test_a_store_that_refuses_is_counted_by_what_was_asked_of_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "images"))
    (tmp_path / "images" / "project").write_text("a file where a folder should be")
    before = value("darkroom_store_errors_total", operation="put")
    with pytest.raises(StoreUnavailable):
        await store.put("project", b"bytes", "image/png")
    assert value("darkroom_store_errors_total", operation="put") == before + 1


async def test_a_duty_that_fails_is_counted_by_its_cause(dispatcher: Dispatcher) -> None:
    def failures(cause: str) -> float:
        return value("darkroom_duty_failures_total", duty="test", cause=cause)

    left: list[Exception] = [Unavailable("away"), ZeroDivisionError("a bug")]

    class Enough(BaseException):
        """What ends the duty: no failure of its own does."""

    async def turn() -> bool:
        if not left:
            raise Enough
        raise left.pop(0)

    before = failures("postgres"), failures("bug")
    with pytest.raises(Enough):
        await repeat(dispatcher, "test", turn, every=timedelta(milliseconds=1))
    assert (failures("postgres"), failures("bug")) == (before[0] + 1, before[1] + 1)
    assert value("darkroom_duty_overdue_seconds", duty="test") == 0


async def test_redis_is_connected_while_somebody_listens(settings: Settings) -> None:
    name = "darkroom_redis_connected"
    async with Doorbell(settings.redis_url.get_secret_value()) as doorbell:
        with doorbell.waiter("jobs") as bell:
            await doorbell.listen("jobs")
            await bell.wait(timedelta(seconds=10))  # woken when the subscription stands
        assert REGISTRY.get_sample_value(name) == 1
        async with Doorbell("redis://127.0.0.1:1/0") as away:
            await away.listen("jobs")
            assert REGISTRY.get_sample_value(name) == 0
        assert REGISTRY.get_sample_value(name) == 1
    assert REGISTRY.get_sample_value(name) is None


async def test_connections_in_use_are_those_in_use(database: Database) -> None:
    def used(pool: str) -> float:
        return value("darkroom_database_connections_used", pool=pool)

    before = used("sessions"), used("direct")
    async with database.transaction() as tx, database.direct.transaction() as direct:
        await tx.execute(text("SELECT 1"))
        await direct.run(b"SELECT 1", {})
        assert (used("sessions"), used("direct")) == (before[0] + 1, before[1] + 1)
        assert value("darkroom_database_connections", pool="direct") >= 1
        assert value("darkroom_database_connections_max", pool="direct") >= 20
    assert (used("sessions"), used("direct")) == before


def test_a_process_says_what_it_is() -> None:
    metrics.identify("api")
    assert value("darkroom_build_info", version=VERSION, role="api") == 1


def test_ids_are_no_labels() -> None:
    found = [
        sample
        for family in REGISTRY.collect()
        for sample in family.samples
        for said in sample.labels.values()
        if _ID.fullmatch(said)
    ]
    assert found == []
