"""Duties: whoever comes first does them, and two at once are harmless."""

import asyncio
from datetime import timedelta

import pytest

from models.coordination import duties, workers
from models.platform.db import Transaction
from models.webhooks import deliveries
from tests.fixtures.making import Bench
from tests.fixtures.sending import URL, finished

MINUTE = timedelta(seconds=60)


async def test_a_duty_is_done_by_one_at_a_time_and_free_again_afterwards(bench: Bench) -> None:
    async with bench.database.transaction() as mine, bench.database.transaction() as other:
        assert await duties.claim(mine, "reap")
        assert not await duties.claim(other, "reap")
        assert await duties.claim(other, "release")
    assert await bench.do(lambda tx: duties.claim(tx, "reap"))


async def test_a_duty_whose_holder_fails_is_free_again(bench: Bench) -> None:
    async def claim_and_fail(tx: Transaction) -> None:
        assert await duties.claim(tx, "reap")
        raise LookupError

    with pytest.raises(LookupError):
        await bench.do(claim_and_fail)
    assert await bench.do(lambda tx: duties.claim(tx, "reap"))


async def may_reap(bench: Bench) -> bool:
    return await bench.do(lambda tx: duties.may_reap(tx, MINUTE))


async def later(bench: Bench, passed: str) -> None:
    """Let time pass for the reaper: everything that it remembers was so much earlier."""
    await bench.run(
        f"UPDATE duties SET done_at = done_at - interval '{passed}',"  # noqa: S608 - ours
        f" lease_until = lease_until - interval '{passed}'"
    )


async def test_leases_are_believed_while_the_reaper_ticks(bench: Bench) -> None:
    for _ in range(4):
        assert await may_reap(bench)
        await later(bench, "10 s")


async def test_after_a_gap_the_reaper_waits_one_lease_and_then_believes_again(
    bench: Bench,
) -> None:
    assert await may_reap(bench)
    await later(bench, "16 s")
    for _ in range(5):  # 50 s of ticks
        assert not await may_reap(bench)
        await later(bench, "10 s")
    await later(bench, "4 s")
    assert not await may_reap(bench)
    await later(bench, "8 s")
    assert await may_reap(bench)


async def test_a_second_gap_begins_the_wait_anew(bench: Bench) -> None:
    await may_reap(bench)
    for _ in range(3):
        await later(bench, "59 s")
        assert not await may_reap(bench)


async def test_a_network_duty_is_held_by_its_lease_and_renewed_by_its_holder(
    bench: Bench,
) -> None:
    async def lease(holder: str) -> bool:
        return await bench.do(lambda tx: duties.lease(tx, "reconcile", holder, MINUTE))

    assert [await lease(each) for each in ("a", "b", "a")] == [True, False, True]
    await later(bench, "61 s")
    assert [await lease(each) for each in ("b", "a")] == [True, False]


async def test_of_many_that_want_a_lease_at_once_one_has_it(bench: Bench) -> None:
    got = await asyncio.gather(
        *(
            bench.do(lambda tx, n=n: duties.lease(tx, "wallet", f"d{n}", MINUTE))  # type: ignore[misc] # a default binds the loop's variable
            for n in range(12)
        )
    )
    assert sum(got) == 1


async def test_all_processes_together_spend_no_more_requests_than_the_minute_has(
    bench: Bench,
) -> None:
    async def spend() -> bool:
        return await bench.do(lambda tx: duties.spend_request(tx, 10))

    assert sum(await asyncio.gather(*(spend() for _ in range(25)))) == 10
    assert not await spend()
    await bench.run("UPDATE duties SET window_start = window_start - interval '61 s'")
    assert sum([await spend() for _ in range(12)]) == 10


# What may be handed out: the workers' own word.


async def report(bench: Bench, name: str, slots: int, *, draining: bool = False) -> None:
    await bench.do(
        lambda tx: workers.report(
            tx, name, generate_slots=slots, deliver_slots=slots, draining=draining
        )
    )


async def free(bench: Bench, limit: int = 100) -> tuple[int, int]:
    seen = timedelta(seconds=20)
    return (
        (await bench.do(lambda tx: workers.capacity(tx, seen=seen))).within(limit),
        (await bench.do(lambda tx: deliveries.capacity(tx, seen=seen)))[0],
    )  # fmt: skip


async def test_free_slots_are_those_of_workers_that_live_and_stay(bench: Bench) -> None:
    await finished(bench, webhook_url=URL)  # somebody is to be told
    assert await free(bench) == (0, 0)
    await report(bench, "w1", 4)
    await report(bench, "w1", 5)
    await report(bench, "leaves", 7, draining=True)
    await report(bench, "silent", 7)
    await bench.run("UPDATE workers SET seen_at = now() - interval '21 s' WHERE id = 'silent'")
    assert await free(bench) == (5, 5)
    await bench.do(lambda tx: workers.leave(tx, "w1"))
    assert await free(bench) == (0, 0)


async def test_what_is_dispatched_or_running_takes_a_slot_and_counts_against_the_limit(
    bench: Bench,
) -> None:
    await report(bench, "w1", 5)
    assert await free(bench) == (5, 0), "nobody is to be told of anything"
    await finished(bench, webhook_url=URL)
    await bench.running()
    await bench.dispatch(await bench.submit())
    await bench.submit()
    assert await free(bench) == (3, 5)
    assert (await free(bench, limit=3))[0] == 1
    assert (await free(bench, limit=1))[0] <= 0


async def test_workers_that_were_not_heard_of_for_long_are_forgotten(bench: Bench) -> None:
    await report(bench, "old", 1)
    await report(bench, "new", 1)
    await bench.run("UPDATE workers SET seen_at = now() - interval '11 min' WHERE id = 'old'")
    await bench.do(workers.forget)
    assert [row["id"] for row in await bench.rows("SELECT id FROM workers")] == ["new"]
