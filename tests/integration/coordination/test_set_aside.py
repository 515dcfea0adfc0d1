"""Rows set aside: a duty that fails at one of them notes it, and goes on with the others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from models.__main__ import main
from models.coordination import aside
from models.errors import Unavailable
from models.images.storage import Store
from models.jobs.view import Presenter
from models.platform.db import Database, Transaction
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.settings import Settings
from tests.conftest import make_settings
from tests.fixtures.making import DAY, Bench
from tests.fixtures.poison import heal, poison, put_by
from tests.fixtures.sending import endpoint, finished, wake
from worker.dispatcher.duties import measuring, reaping, retaining
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one
from worker.runtime.app import connect


@pytest.fixture
async def dispatcher(
    settings: Settings, database: Database, presenter: Presenter
) -> AsyncIterator[Dispatcher]:
    async with Doorbell(settings.redis_url.get_secret_value()) as doorbell:
        yield Dispatcher(settings, "dispatcher-1", database, doorbell, connect(settings), presenter)


async def test_a_job_that_cannot_be_reaped_stops_no_other_and_is_tried_again(
    bench: Bench, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lost = [
        (await bench.running(prompt=f"fox {n}", on_unknown_charge="fail")).job_id for n in range(3)
    ]
    await bench.run("UPDATE jobs SET lease_until = now() - interval '1 h'")
    await bench.change(lost[0], "lease_until = now() - interval '2 h'")
    await poison(bench, "jobs", lost[0])
    before = _counted("reap")

    assert await reaping.run(dispatcher) is False

    states = [(await bench.job(each))["status"] for each in lost]
    assert states == ["running", "failed", "failed"]
    assert await put_by(bench) == {lost[0]: "reap"}
    await reaping.run(dispatcher)
    (noted,) = await bench.rows("SELECT failures, reason FROM set_aside")
    assert noted["failures"] == 1, "it is passed by meanwhile"
    assert "this row is poison" in noted["reason"]
    assert _counted("reap") == before + 1
    await measuring.run(dispatcher)
    assert REGISTRY.get_sample_value("darkroom_set_aside", {"duty": "reap"}) == 1

    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("REDIS_URL", "redis://nowhere.invalid/0")
    monkeypatch.setenv("DARKROOM_SECRET", settings.secret.get_secret_value())
    assert await asyncio.to_thread(main, ["set-aside"]) == 0
    assert str(lost[0]) in capsys.readouterr().out

    await heal(bench, "jobs")
    await reaping.run(dispatcher)
    assert (await bench.job(lost[0]))["status"] == "failed"
    assert await put_by(bench) == {}


def _counted(duty: str) -> float:
    return REGISTRY.get_sample_value("darkroom_rows_set_aside_total", {"duty": duty}) or 0


async def test_a_job_that_cannot_expire_stops_no_other(
    bench: Bench, dispatcher: Dispatcher
) -> None:
    late = [await bench.submit(prompt=f"fox {n}") for n in range(3)]
    await bench.run("UPDATE jobs SET queue_expires_at = now() - interval '1 h'")
    await poison(bench, "jobs", late[1])
    await reaping.expire(dispatcher)
    assert [(await bench.job(each))["status"] for each in late] == ["expired", "queued", "expired"]
    assert await put_by(bench) == {late[1]: "expire"}


async def test_a_batch_of_which_one_row_fails_is_done_row_by_row(
    bench: Bench, dispatcher: Dispatcher, vault: Vault
) -> None:
    await endpoint(bench, vault)
    for _ in range(3):
        await finished(bench)
    woken = [id_ for id_, _ in await wake(bench)]
    await bench.run("UPDATE deliveries SET lease_until = now() - interval '1 s'")
    await poison(bench, "deliveries", woken[0])
    await reaping.run(dispatcher)
    rows = await bench.rows("SELECT id, state FROM deliveries")
    assert {row["id"]: row["state"] for row in rows} == {
        woken[0]: "sending", woken[1]: "pending", woken[2]: "pending",
    }  # fmt: skip
    assert await put_by(bench) == {woken[0]: "deliveries"}
    await heal(bench, "deliveries")
    await reaping.run(dispatcher)
    assert await put_by(bench) == {}


async def test_what_retention_cannot_remove_keeps_nothing_else(
    bench: Bench, dispatcher: Dispatcher, settings: Settings
) -> None:
    old = [await finished(bench) for _ in range(3)]
    settings = settings.model_copy(
        update={"job_retention": timedelta(0), "delivery_retention": DAY}
    )
    strict = Dispatcher(
        settings,
        dispatcher.name,
        dispatcher.database,
        dispatcher.doorbell,
        dispatcher.celery,
        dispatcher.presenter,
    )
    await poison(bench, "jobs", old[1])
    await retaining.run(strict, Store(settings.storage_url))
    assert [row["id"] for row in await bench.rows("SELECT id FROM jobs")] == [old[1]]
    assert await put_by(bench) == {old[1]: "jobs"}


async def test_a_row_that_never_works_is_tried_ever_more_rarely(bench: Bench) -> None:
    subject, waits = uuid4(), []
    for n in range(14):
        failures = await bench.do(lambda tx: aside.put(tx, "reap", subject, "why"))
        assert failures == n + 1
        (row,) = await bench.rows("SELECT again_at - now() AS wait FROM set_aside")
        waits.append(row["wait"].total_seconds())
    # Less the moment until the look at it.
    assert [round(wait / 5) for wait in waits[:4]] == [1, 2, 4, 8]
    assert [round(wait / 60) for wait in waits[-2:]] == [60, 60]
    await bench.run("UPDATE set_aside SET again_at = now() - interval '2 days'")
    await bench.do(aside.forget_old)
    assert await bench.do(aside.counts) == {}


async def test_a_row_is_not_at_fault_when_postgres_is_away(
    bench: Bench, dispatcher: Dispatcher
) -> None:
    nobody = make_settings(database_url="postgresql://postgres@127.0.0.1:1/none")
    gone = Database(nobody, ring=lambda _topic, _key: None)
    tried: list[UUID] = []

    async def move(tx: Transaction, subject: UUID) -> None:
        await tx.execute(text("SELECT 1"))
        tried.append(subject)

    with pytest.raises(Unavailable):
        await one_by_one(replace(dispatcher, database=gone), "reap", [uuid4(), uuid4()], move)
    assert tried == []
    assert await put_by(bench) == {}
    await gone.close()
