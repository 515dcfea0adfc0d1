"""The answer to COMMIT is lost: it took effect, and whoever waits for it cannot know. No double."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from models import jobs
from models.accounts.callers import Caller
from models.errors import Unavailable
from models.jobs import Idempotency
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings
from tests.conftest import make_settings
from tests.fixtures import sending
from tests.fixtures.commits import Proxy, proxy
from tests.fixtures.making import DAY, IMAGE, LEASE, LOST, NOTHING, PRICE, Bench, asked


@pytest.fixture
async def between(database_url: str) -> AsyncIterator[Proxy]:
    async with proxy(database_url) as made:
        yield made


@pytest.fixture
async def far(
    between: Proxy, settings: Settings, presenter: Presenter, caller: Caller
) -> AsyncIterator[Bench]:
    """The same database, seen through the proxy."""
    through = make_settings(
        database_url=between.url,
        redis_url=settings.redis_url.get_secret_value(),
        storage_url=settings.storage_url,
        database_prepare=False,  # each statement is one message, whose answer can be lost
    )
    opened = Database(through, ring=lambda _topic, _key: None)
    yield Bench(opened, presenter, caller)
    await opened.close()


@pytest.fixture
def near(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    return Bench(database, presenter, caller)


async def test_a_submission_sent_again_with_its_key_finds_the_job_it_had_made(
    between: Proxy, far: Bench, near: Bench
) -> None:
    name: Idempotency = ("submit", "order-17", b"f" * 32)
    between.drop = 1
    with pytest.raises(Unavailable):
        await far.do(
            lambda tx: jobs.submit(tx, far.presenter, far.caller, asked(), idempotency=name)
        )
    assert between.dropped == 1
    job, replayed = await far.do(
        lambda tx: jobs.submit(tx, far.presenter, far.caller, asked(), idempotency=name)
    )
    assert replayed
    assert await near.ledger(job.id) == [(1, "hold", PRICE)]
    assert len(await near.rows("SELECT id FROM jobs")) == 1
    assert await near.audit() == []


async def test_a_start_whose_answer_was_lost_is_found_again_by_its_own_id(
    between: Proxy, far: Bench, near: Bench
) -> None:
    job_id = await near.submit()
    fence, start_id = await near.dispatch(job_id), uuid4()
    between.drop = 1
    with pytest.raises(Unavailable):
        await replace(far, plain=False).start(job_id, fence, start_id=start_id)
    (found,) = await far.do(lambda tx: jobs.started(tx, [(job_id, fence)], start_id))
    assert found.ref.number == 1
    assert await far.do(lambda tx: jobs.started(tx, [(job_id, fence)], uuid4())) == []
    assert len(await near.attempts(job_id)) == 1


async def test_an_image_is_settled_once_however_often_its_receipt_is_written(
    between: Proxy, far: Bench, near: Bench
) -> None:
    ref = await near.running()
    for _ in range(2):
        between.drop = 1
        with pytest.raises(Unavailable):
            await far.do(
                lambda tx: jobs.receive(tx, far.presenter, ref, IMAGE, lease=LEASE, ttl=DAY)
            )
    received = await far.receive(ref)
    assert received == ("keep", ref)
    assert await near.ledger(ref.job_id) == [
        (1, "hold", PRICE), (1, "release", -PRICE), (1, "charge", PRICE),
    ]  # fmt: skip
    assert await near.audit() == []


async def test_a_lost_answer_is_lost_once_however_often_that_is_written(
    between: Proxy, far: Bench, near: Bench
) -> None:
    ref = await near.running()
    between.drop = 1
    with pytest.raises(Unavailable):
        await far.lose(ref, LOST)
    assert await far.lose(ref, LOST) is None
    job = await near.job(ref.job_id)
    assert (job["status"], job["held"], job["counted"]) == ("queued", 2 * PRICE, 1)
    assert await near.audit() == []


@pytest.mark.parametrize("last", ["the other attempt ends", "the late image is kept"])
async def test_a_job_that_ends_with_its_late_image_does_so_once(
    between: Proxy, far: Bench, near: Bench, last: str
) -> None:
    late = await near.running()
    await near.reap(late.job_id)
    fresh = await near.begin(late.job_id)
    await near.receive(late)
    between.drop = 1
    if last == "the late image is kept":
        await near.retry_later(fresh)
        with pytest.raises(Unavailable):
            await far.keep_late(late)
        assert await far.keep_late(late) is None
    else:
        with pytest.raises(Unavailable):
            await far.keep_late(late)
        assert await far.keep_late(late) is None
        between.drop = 1
        with pytest.raises(Unavailable):
            await far.retry_later(fresh)
        assert await far.retry_later(fresh) is None
    job = await near.job(late.job_id)
    assert (job["status"], job["held"], job["charged"]) == ("succeeded", 0, PRICE)
    assert await near.events(late.job_id) == ["job.charge_resolved", "job.succeeded"]
    assert [dict(row) for row in await near.rows("SELECT attempt, spare FROM images")] == [
        {"attempt": 1, "spare": False}
    ]
    assert await near.audit() == []


async def test_a_success_whose_answer_was_lost_is_told_once(
    between: Proxy, far: Bench, near: Bench
) -> None:
    received = await near.receive(await near.running())
    assert received is not None
    between.drop = 1
    with pytest.raises(Unavailable):
        await far.succeed(received[1])
    assert await far.succeed(received[1]) is None
    assert await near.events(received[1].job_id) == ["job.succeeded"]
    assert await near.audit() == []


async def test_a_dispatch_whose_answer_was_lost_costs_a_lease_and_no_more(
    between: Proxy, far: Bench, near: Bench
) -> None:
    job_id = await near.submit()
    between.drop = 1
    with pytest.raises(Unavailable):
        await far.do(lambda tx: jobs.dispatch(tx, 10, lease=LEASE, typical_call=NOTHING))
    assert (await near.job(job_id))["status"] == "released"
    assert await near.reap(job_id) == 1
    job = await near.job(job_id)
    assert (job["status"], job["attempt"], job["held"]) == ("queued", 0, PRICE)


async def test_what_a_worker_says_in_one_statement_is_said_once(
    between: Proxy, far: Bench, near: Bench, vault: Vault
) -> None:
    job_id = await near.submit(webhook_url="https://receiver.example/job")
    fence, start_id = await near.dispatch(job_id), uuid4()
    between.at, between.drop = b"begun AS", 1
    with pytest.raises(Unavailable):
        await far.start(job_id, fence, start_id=start_id)
    (found,) = await far.do(lambda tx: jobs.started(tx, [(job_id, fence)], start_id))
    between.at, between.drop = b"finished AS", 1
    with pytest.raises(Unavailable):
        await far.receive(found.ref)
    assert await far.receive(found.ref) == ("keep", found.ref)
    between.at, between.drop = b"COMMIT", 1
    with pytest.raises(Unavailable):
        await far.succeed(found.ref)
    assert await far.succeed(found.ref) is None
    (woken,) = await sending.wake(near)
    between.at, between.drop = b"aim AS", 1
    with pytest.raises(Unavailable):
        await sending.take(far, vault, woken)
    assert await sending.take(far, vault, woken) is None
    between.at, between.drop = b"moved AS", 1
    with pytest.raises(Unavailable):
        await sending.record(far, woken, sending.DELIVERED)
    assert await sending.record(far, woken, sending.DELIVERED) is None
    assert between.dropped == 5
    assert await near.events(job_id) == ["job.succeeded"]
    assert await sending.states(near) == [("delivered", 1)]
    assert await near.ledger(job_id) == [
        (1, "hold", PRICE), (1, "release", -PRICE), (1, "charge", PRICE),
    ]  # fmt: skip
    assert len(await near.attempts(job_id)) == 1
    assert await near.audit() == []
