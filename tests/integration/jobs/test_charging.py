"""Charges that were unknown: who asks for them, and what finding them out does."""

import asyncio
from datetime import UTC, datetime

import pytest

from models import jobs
from models.jobs import Verdict
from tests.fixtures.making import EMPTY_UNPRICED, IMAGE, LOST, PRICE, Bench


async def unknown(bench: Bench) -> list[int]:
    return [each.number for each in await bench.do(lambda tx: jobs.unknown_charges(tx, limit=9))]


async def test_a_call_under_way_is_nobodys_business_yet(bench: Bench) -> None:
    ref = await bench.running()
    (attempt,) = await bench.attempts(ref.job_id)
    before = await bench.everything_of(ref.job_id)

    assert await unknown(bench) == []
    named = [attempt["client_request_id"]]
    assert not any(map(jobs.open_charge, await bench.do(lambda tx: jobs.named(tx, named))))
    assert await bench.resolve(ref.job_id) is None
    assert await bench.resolve(ref.job_id, credits_=PRICE) is None
    assert await bench.everything_of(ref.job_id) == before

    await bench.lose(ref)
    assert await unknown(bench) == [1]
    assert all(map(jobs.open_charge, await bench.do(lambda tx: jobs.named(tx, named))))


async def test_what_the_log_can_say_something_new_of(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref)
    (attempt,) = await bench.attempts(ref.job_id)
    named = [attempt["client_request_id"], "job_another:1"]

    async def numbers() -> list[int]:
        found = await bench.do(lambda tx: jobs.named(tx, named))
        assert [each.number for each in found] == [1]
        return [each.number for each in found if jobs.open_charge(each)]

    assert await numbers() == [1]
    await bench.resolve(ref.job_id)
    assert (await unknown(bench), await numbers()) == ([], [1])
    await bench.resolve(ref.job_id, credits_=PRICE)
    assert await numbers() == []


async def test_an_absence_is_noted_once(bench: Bench) -> None:
    await bench.lose(await bench.running())
    open_ = await bench.do(lambda tx: jobs.unknown_charges(tx, limit=9))
    seen = []
    for _ in range(2):
        await bench.do(lambda tx: jobs.note_absent(tx, open_))
        seen.append((await bench.rows("SELECT absent_at FROM attempts"))[0]["absent_at"])
    assert seen[0] is not None
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("credits_", "status", "code", "reason"),
    [(None, "queued", None, "queue"), (PRICE, "failed", "paid_without_image", None)],
)
async def test_a_job_that_waited_for_its_charge_goes_on_when_it_is_known(
    bench: Bench, credits_: int | None, status: str, code: str | None, reason: str | None
) -> None:
    ref = await bench.running(on_unknown_charge="wait")
    await bench.lose(ref)

    await bench.resolve(ref.job_id, credits_=credits_)

    job = await bench.job(ref.job_id)
    assert (job["status"], job["waiting_reason"]) == (status, reason)
    assert (job["error"] or {}).get("code") == code
    assert (job["held"], job["charged"]) == ((PRICE, 0) if credits_ is None else (0, PRICE))
    told = ["job.charge_resolved"] + (["job.failed"] if code else [])
    assert await bench.events(ref.job_id) == told
    assert await bench.audit() == []


async def test_a_job_with_two_lost_calls_waits_for_both(bench: Bench) -> None:
    ref = await bench.running()
    await bench.lose(ref)
    await bench.lose(await bench.begin(ref.job_id))

    await bench.resolve(ref.job_id, 2)
    job = await bench.job(ref.job_id)
    assert (job["status"], job["waiting_reason"], job["held"]) == (
        "queued",
        "unknown_charge",
        PRICE,
    )
    await bench.resolve(ref.job_id, 1)
    job = await bench.job(ref.job_id)
    assert (job["status"], job["waiting_reason"], job["held"]) == ("queued", "queue", PRICE)
    assert job["run_after"] is not None
    assert await bench.audit() == []


async def test_a_charge_found_for_a_waiting_job_may_use_up_its_attempts(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="wait", max_attempts=1)
    await bench.lose(ref)
    await bench.resolve(ref.job_id)
    job = await bench.job(ref.job_id)
    assert (job["status"], job["error"]["code"], job["held"]) == ("failed", "attempts_exhausted", 0)


async def test_a_finished_job_stays_as_it_ended_and_tells_its_charge(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref)
    ended = await bench.job(ref.job_id)

    await bench.resolve(ref.job_id, credits_=PRICE)

    job = await bench.job(ref.job_id)
    moves = {"version", "held", "charged"}
    assert {name for name in job if job[name] != ended[name]} == moves
    assert await bench.events(ref.job_id) == ["job.failed", "job.charge_resolved"]


async def test_a_job_that_tries_again_is_not_moved_by_what_the_first_call_cost(
    bench: Bench,
) -> None:
    ref = await bench.running()
    await bench.retry_later(ref, EMPTY_UNPRICED)
    fresh = await bench.begin(ref.job_id)

    await bench.resolve(ref.job_id, 1, PRICE)

    job = await bench.job(ref.job_id)
    assert (job["status"], job["fence"], job["charged"]) == ("running", fresh.fence, PRICE)
    assert await bench.receive(fresh, IMAGE) == ("keep", fresh)
    assert await bench.audit() == []


async def test_a_charge_is_booked_when_found_with_the_time_it_was_made(bench: Bench) -> None:
    made_at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref, LOST)
    verdict = Verdict(PRICE + 1, "inf-log", made_at)
    await bench.do(lambda tx: jobs.resolve(tx, bench.presenter, ref.job_id, 1, verdict))

    (charge,) = await bench.rows("SELECT * FROM ledger WHERE kind = 'charge'")
    assert (charge["made_at"], charge["credits"]) == (made_at, PRICE + 1)
    assert charge["at"] > made_at
    (attempt,) = await bench.attempts(ref.job_id)
    assert (attempt["charged_at"], attempt["inference_id"]) == (made_at, "inf-log")


async def test_two_who_find_the_same_charge_book_it_once(bench: Bench) -> None:
    for _ in range(8):
        ref = await bench.running(on_unknown_charge="wait")
        await bench.lose(ref)
        found = await asyncio.gather(
            *(bench.resolve(ref.job_id, credits_=PRICE) for _ in range(3)),
            bench.resolve(ref.job_id),
        )
        # `released` may come first, and `settled` after it; never the other way round.
        assert 1 <= sum(each is not None for each in found) <= 2
        (attempt,) = await bench.attempts(ref.job_id)
        assert attempt["charge"] == "settled"
        assert (await bench.job(ref.job_id))["charged"] == PRICE
    assert await bench.audit() == []
