"""Leases: what is renewed, what is taken back, and what becomes of it."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from models import jobs
from models.jobs.attempts import Ref
from models.platform.db import Transaction
from tests.fixtures.making import DAY, LEASE, PRICE, Bench

RUN_OUT = "lease_until = now() - interval '1 ms'"


async def reap(bench: Bench, batch: int = 100) -> Counter[str]:
    return await bench.reap_round(batch)


async def test_nobody_loses_a_lease_that_still_runs(bench: Bench) -> None:
    await bench.dispatch(await bench.submit())
    await bench.running()
    assert (await reap(bench)).total() == 0


async def test_what_was_dispatched_and_never_started_goes_back_in_its_place(bench: Bench) -> None:
    job_id = await bench.submit()
    await bench.dispatch(job_id)
    before = await bench.job(job_id)
    await bench.change(job_id, RUN_OUT)

    assert await reap(bench) == Counter(unsent=1)

    job = await bench.job(job_id)
    assert (job["status"], job["rank"], job["held"]) == ("queued", before["rank"], PRICE)
    # From outside nothing happened: neither the ETag nor an event.
    assert job["version"] == before["version"]
    assert await bench.events(job_id) == []


@pytest.mark.parametrize(
    ("policy", "status", "reason"),
    [("retry", "queued", "queue"), ("wait", "queued", "unknown_charge"), ("fail", "failed", None)],
)
async def test_a_call_whose_worker_died_is_an_unknown_charge(
    bench: Bench, policy: str, status: str, reason: str | None
) -> None:
    ref = await bench.running(on_unknown_charge=policy)
    await bench.change(ref.job_id, RUN_OUT)

    assert await reap(bench) == Counter(lost=1)

    job, (attempt,) = await bench.job(ref.job_id), await bench.attempts(ref.job_id)
    assert (job["status"], job["waiting_reason"]) == (status, reason)
    assert (job["run_after"] is None) == (reason == "unknown_charge")
    assert (attempt["outcome"], attempt["charge"]) == ("unknown", "unknown")
    assert attempt["error"]["code"] == "worker_lost"
    assert await bench.audit() == []


async def test_a_second_lost_call_waits_whatever_was_asked_for(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="retry")
    await bench.reap(ref.job_id)
    await bench.lose(await bench.begin(ref.job_id))

    job = await bench.job(ref.job_id)
    assert (job["status"], job["waiting_reason"]) == ("queued", "unknown_charge")
    assert (job["held"], job["counted"]) == (2 * PRICE, 2)


async def test_a_job_that_kills_two_workers_is_not_given_a_third(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="retry")
    await bench.reap(ref.job_id)
    await bench.begin(ref.job_id, worker="w2")
    await bench.reap(ref.job_id)

    job = await bench.job(ref.job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "worker_lost")
    assert job["error"]["retryable"] is False
    assert job["held"] == 2 * PRICE, "nobody knows yet what the calls cost"
    await bench.resolve(ref.job_id, 1, PRICE)
    await bench.resolve(ref.job_id, 2)
    job = await bench.job(ref.job_id)
    assert (job["status"], job["held"], job["charged"]) == ("failed", 0, PRICE)
    assert await bench.audit() == []


async def test_of_two_jobs_that_lose_two_workers_together_the_next_death_tells(
    bench: Bench,
) -> None:
    poison, innocent = [(await bench.running()).job_id for _ in range(2)]
    for each in (poison, innocent):
        await bench.reap(each)
    for each in (poison, innocent):
        await bench.change(innocent, "run_after = now() + interval '1 h'")  # one at a time
        await bench.begin(each, worker="w2")
    await bench.change(poison, RUN_OUT)
    await bench.change(innocent, RUN_OUT)
    await bench.reap_due()
    for each in (poison, innocent):
        job = await bench.job(each)
        assert (job["status"], job["waiting_reason"]) == ("queued", "unknown_charge")
        for number in (1, 2):
            await bench.resolve(each, number)
    await bench.change(innocent, "run_after = now() + interval '1 h'")
    await bench.begin(poison, worker="w3")
    await bench.reap(poison)
    done = await bench.begin(innocent, worker="w4")
    await bench.receive(done)
    await bench.succeed(done)
    assert (await bench.job(poison))["error"]["code"] == "worker_lost"
    assert (await bench.job(innocent))["status"] == "succeeded"
    assert await bench.audit() == []


async def test_a_paid_image_is_taken_over_and_not_paid_again(bench: Bench) -> None:
    ref = await bench.running()
    await bench.receive(ref)
    await bench.change(ref.job_id, RUN_OUT)

    assert await reap(bench) == Counter(keeping=1)

    begun = await bench.start(ref.job_id, await bench.dispatch(ref.job_id), worker="w2")
    assert begun is not None
    assert (begun.phase, begun.ref.number) == ("keep", 1)
    assert begun.provider_url is not None
    assert await bench.succeed(ref) is None
    assert await bench.succeed(begun.ref)
    assert len(await bench.attempts(ref.job_id)) == 1
    assert (await bench.job(ref.job_id))["charged"] == PRICE


async def test_an_image_that_kills_its_workers_is_given_up_when_its_url_is_dead(
    bench: Bench,
) -> None:
    ref = await bench.running()
    await bench.receive(ref)
    await bench.change(ref.job_id, f"{RUN_OUT}, keep_until = now()")

    assert (await reap(bench))["keeping"] == 1

    job = await bench.job(ref.job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "image_lost")
    assert (job["charged"], job["held"]) == (PRICE, 0)
    assert await bench.events(ref.job_id) == ["job.failed"]


async def test_keeping_is_put_off_for_longer_each_time_until_the_url_is_dead(bench: Bench) -> None:
    ref = await bench.running()
    await bench.receive(ref)
    delays = []
    for age in (timedelta(0), timedelta(seconds=30), timedelta(hours=5)):
        delays.append(await _put_off(bench, ref, age))
        job = await bench.job(ref.job_id)
        assert (job["status"], job["phase"], job["waiting_reason"]) == ("queued", "keep", "storage")
        begun = await bench.start(ref.job_id, await bench.dispatch(ref.job_id))
        assert begun is not None
        ref = begun.ref

    assert [each.total_seconds() for each in delays] == [1, 30, 600]
    await bench.change(ref.job_id, "keep_until = now()")
    assert await bench.keep_later(ref)
    assert (await bench.job(ref.job_id))["error"]["code"] == "image_lost"
    assert await bench.audit() == []


async def _put_off(bench: Bench, ref: Ref, age: timedelta) -> timedelta:
    """Put off the keeping of an image that came so long ago; returns the delay.

    In one transaction, whose clock stands still.
    """

    async def write(tx: Transaction) -> timedelta:
        came = text("UPDATE jobs SET keep_until = now() + :left")
        await tx.execute(came, {"left": DAY - age})
        assert await jobs.keep_later(tx, bench.presenter, ref, ttl=DAY, message="the disk is full")
        (delay,) = (await tx.execute(text("SELECT run_after - now() FROM jobs"))).one()
        assert isinstance(delay, timedelta)
        return delay

    return await bench.do(write)


async def test_a_worker_renews_what_it_still_has_and_learns_what_it_lost(bench: Bench) -> None:
    mine, lost = await bench.running(), await bench.running()
    await bench.reap(lost.job_id)
    await bench.begin(lost.job_id, worker="w2")
    await bench.run("UPDATE jobs SET lease_until = now() + interval '1 s'")

    renewed = await bench.do(lambda tx: jobs.renew(tx, [mine, lost], LEASE))

    assert renewed == {mine}
    rows = await bench.rows("SELECT id, lease_until - now() AS left FROM jobs")
    left = {row["id"]: row["left"] for row in rows}
    assert left[mine.job_id] > timedelta(seconds=50)
    assert left[lost.job_id] < timedelta(seconds=2)  # another's by now: not ours to keep alive
    assert await bench.do(lambda tx: jobs.renew(tx, [], LEASE)) == set()


async def test_a_renewal_waits_for_no_row_that_somebody_else_has(bench: Bench) -> None:
    free, taken = await bench.running(), await bench.running()
    await bench.run("UPDATE jobs SET lease_until = now() + interval '1 s'")

    async with bench.database.transaction() as slow:
        await slow.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": taken.job_id})
        async with asyncio.timeout(5):
            renewed = await bench.do(lambda tx: jobs.renew(tx, [taken, free], LEASE))

    assert renewed == {free, taken}, "it is still its own, and renewed by the next beat"
    rows = await bench.rows("SELECT id, lease_until - now() AS left FROM jobs")
    left = {row["id"]: row["left"] for row in rows}
    assert left[free.job_id] > timedelta(seconds=50)
    assert left[taken.job_id] < timedelta(seconds=2)


async def test_reapers_that_work_at_once_take_each_job_back_once(bench: Bench) -> None:
    refs: list[Ref] = [await bench.running() for _ in range(12)]
    await bench.run(f"UPDATE jobs SET {RUN_OUT}")  # noqa: S608 - ours

    rounds = await asyncio.gather(*(reap(bench) for _ in range(6)))

    assert sum(each["lost"] for each in rounds) == len(refs)
    assert await bench.audit() == []


async def test_a_round_takes_what_ran_out_first(bench: Bench) -> None:
    made: list[UUID] = []
    for age in (1, 3, 2):
        ref = await bench.running()
        await bench.change(ref.job_id, f"lease_until = now() - interval '{age} s'")
        made.append(ref.job_id)

    assert (await reap(bench, 2)).total() == 2
    left = await bench.rows("SELECT id FROM jobs WHERE status = 'running'")
    assert [row["id"] for row in left] == [made[0]]
