"""Reuse: one charge for many identical jobs, and no follower left behind."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from models import jobs
from models.errors import BudgetExceeded
from models.money import budgets
from models.money.budgets import Rule
from models.platform.db import Database
from models.platform.vault import Vault
from tests.conftest import make_project
from tests.fixtures.making import KEPT, LOST, PRICE, Bench


async def finish(bench: Bench, job_id: UUID) -> None:
    received = await bench.receive(await bench.begin(job_id))
    assert received is not None
    assert await bench.succeed(received[1]) is not None
    await bench.follow_up()


async def statuses(bench: Bench, made: Sequence[UUID]) -> list[str]:
    return [(await bench.job(each))["status"] for each in made]


async def test_a_kept_image_answers_the_next_identical_job_at_once_and_for_nothing(
    bench: Bench,
) -> None:
    first = await bench.submit()
    await finish(bench, first)
    second = await bench.submit(reuse="exact")
    job = await bench.job(second)
    assert (job["status"], job["reused_from"], job["held"], job["charged"]) == (
        "succeeded", first, 0, 0,
    )  # fmt: skip
    assert await bench.ledger(second) == []
    assert await bench.events(second) == ["job.succeeded"]
    (image,) = await bench.rows("SELECT sha256, spare FROM images WHERE job_id = :id", id=second)
    assert (image["sha256"], image["spare"]) == (KEPT.sha256, False)


@pytest.mark.parametrize("why", ["another prompt", "never asked", "expired", "failed"])
async def test_only_a_kept_image_of_the_same_input_is_reused(bench: Bench, why: str) -> None:
    first = await bench.submit()
    if why == "failed":
        await bench.refuse(await bench.begin(first))
    else:
        await finish(bench, first)
    if why == "expired":
        await bench.run("UPDATE images SET expires_at = now()")
    prompt = "another" if why == "another prompt" else "a red fox"
    second = await bench.submit(prompt=prompt, reuse="never" if why == "never asked" else "exact")
    assert (await bench.job(second))["status"] == "queued"
    assert (await bench.job(second))["waiting_reason"] == "queue"


async def test_never_across_projects(bench: Bench, database: Database, vault: Vault) -> None:
    await finish(bench, await bench.submit(reuse="exact"))
    other, _ = await make_project(database, vault, "other")
    theirs = Bench(database, bench.presenter, other)
    assert (await theirs.job(await theirs.submit(reuse="exact")))["status"] == "queued"


@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.long)])
async def test_many_identical_jobs_at_once_have_one_leader_and_one_charge(
    bench: Bench, count: int
) -> None:
    made = await asyncio.gather(*(bench.submit(reuse="exact") for _ in range(count)))
    leaders = await bench.rows("SELECT id FROM jobs WHERE leader_id IS NULL")
    assert len(leaders) == 1
    (waits,) = await bench.rows(
        "SELECT DISTINCT waiting_reason, run_after FROM jobs WHERE leader_id IS NOT NULL"
    )
    assert dict(waits) == {"waiting_reason": "following", "run_after": None}
    await finish(bench, leaders[0]["id"])
    assert await statuses(bench, made) == ["succeeded"] * count
    charged = await bench.rows("SELECT sum(charged) AS c, sum(held) AS h FROM jobs")
    assert (charged[0]["c"], charged[0]["h"]) == (PRICE, 0)
    assert all([await bench.events(each) == ["job.succeeded"] for each in made])
    assert await bench.audit() == []


@pytest.mark.long
async def test_submissions_race_the_leaders_end_and_none_is_stranded(bench: Bench) -> None:
    for turn in range(5):
        prompt = f"fox {turn}"
        leader = await bench.submit(prompt=prompt, reuse="exact")
        received = await bench.receive(await bench.begin(leader))
        assert received is not None
        made = await asyncio.gather(
            *(bench.submit(prompt=prompt, reuse="exact") for _ in range(10)),
            bench.succeed(received[1]),
            *(bench.submit(prompt=prompt, reuse="exact") for _ in range(10)),
        )
        submitted = [each for each in made if isinstance(each, UUID)]
        await bench.follow_up()
        assert await statuses(bench, submitted) == ["succeeded"] * 20
    assert await bench.audit() == []


async def test_a_refused_leaders_followers_fail_alike_and_pay_nothing(bench: Bench) -> None:
    leader, follower = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    await bench.refuse(await bench.begin(leader))
    await bench.follow_up()
    job = await bench.job(follower)
    assert (job["status"], job["held"]) == ("failed", 0)
    assert job["error"]["code"] == "invalid_input"
    assert await bench.audit() == []


@pytest.mark.parametrize("end", ["canceled", "expired", "exhausted"])
async def test_when_the_leader_ends_without_an_image_the_oldest_follower_leads(
    bench: Bench, end: str
) -> None:
    changes = {"max_attempts": 1} if end == "exhausted" else {}
    leader = await bench.submit(reuse="exact", **changes)
    oldest, youngest = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    if end == "canceled":
        await bench.cancel(leader)
    elif end == "expired":
        await bench.expire(leader)
    else:
        await bench.retry_later(await bench.begin(leader))
    await bench.follow_up()
    assert await statuses(bench, [oldest, youngest]) == ["queued", "queued"]
    heir = await bench.job(oldest)
    assert (heir["leader_id"], heir["waiting_reason"]) == (None, "queue")
    assert (await bench.job(youngest))["leader_id"] == oldest
    await finish(bench, oldest)
    assert await statuses(bench, [oldest, youngest]) == ["succeeded", "succeeded"]
    assert await bench.audit() == []


async def test_a_leader_that_was_canceled_too_late_still_serves_its_followers(
    bench: Bench,
) -> None:
    leader, follower = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    ref = await bench.begin(leader)
    await bench.cancel(leader)
    received = await bench.receive(ref)
    assert received is not None
    await bench.succeed(received[1])
    await bench.follow_up()
    assert await statuses(bench, [leader, follower]) == ["canceled", "succeeded"]
    assert await bench.audit() == []


async def test_a_leader_that_tries_again_keeps_its_followers_waiting(bench: Bench) -> None:
    leader, follower = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    await bench.lose(await bench.begin(leader), LOST)
    assert await statuses(bench, [leader, follower]) == ["queued", "queued"]
    assert (await bench.job(follower))["leader_id"] == leader


async def test_a_canceled_follower_gives_back_its_hold_and_leaves_the_leader_alone(
    bench: Bench,
) -> None:
    leader, follower = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    canceled = await bench.cancel(follower)
    assert (canceled.status, canceled.held, canceled.cancel_outcome) == ("canceled", 0, "prevented")
    await finish(bench, leader)
    assert await statuses(bench, [leader, follower]) == ["succeeded", "canceled"]
    assert await bench.audit() == []


async def test_a_follower_holds_its_price_so_that_its_budget_is_kept(bench: Bench) -> None:
    rule = Rule("project", "total", "UTC", PRICE, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))
    leader = await bench.submit(reuse="exact")
    with pytest.raises(BudgetExceeded):
        await bench.submit(reuse="exact")
    await bench.run('UPDATE budgets SET "limit" = 10 * :price', price=PRICE)
    await bench.submit(reuse="exact")
    await finish(bench, leader)
    assert await bench.audit() == []


async def test_a_leader_ends_at_once_however_many_follow_it_and_they_end_in_slices(
    bench: Bench, database: Database, vault: Vault
) -> None:
    leader = await bench.submit(reuse="exact")
    followers = [await bench.submit(reuse="exact") for _ in range(45)]
    received = await bench.receive(await bench.begin(leader))
    assert received is not None
    assert await bench.succeed(received[1]) is not None
    assert await statuses(bench, [leader, *followers]) == ["succeeded"] + ["queued"] * 45
    other = Bench(database, bench.presenter, (await make_project(database, vault, "quiet"))[0])
    theirs = [await other.submit(reuse="exact") for _ in range(2)]
    await other.cancel(theirs[0])

    found = await bench.do(lambda tx: jobs.waiting(tx, 5, 20))

    assert [each for of, each in found if of == leader] == followers[:20], "a slice of each project"
    assert [each for of, each in found if of == theirs[0]] == [theirs[1]]
    assert await bench.follow_up() == 46
    assert await statuses(bench, followers) == ["succeeded"] * 45
    assert (await bench.job(theirs[1]))["waiting_reason"] == "queue"
    assert await bench.rows("SELECT id FROM jobs WHERE followed") == []
    assert await bench.audit() == []


async def test_followers_may_be_seen_to_by_two_at_once_and_by_whoever_comes_after_a_death(
    bench: Bench,
) -> None:
    leader = await bench.submit(reuse="exact")
    followers = [await bench.submit(reuse="exact") for _ in range(6)]
    await bench.cancel(leader)
    first = followers[0]
    await bench.do(lambda tx: jobs.follow_up(tx, bench.presenter, first))  # and then it died
    await asyncio.gather(*(bench.follow_up() for _ in range(3)))
    rows = await bench.rows("SELECT id, leader_id FROM jobs WHERE finished_at IS NULL")
    assert {row["leader_id"] for row in rows} == {None, first}
    await finish(bench, first)
    assert await statuses(bench, followers) == ["succeeded"] * 6
    assert await bench.audit() == []


async def test_a_follower_whose_leader_ended_finds_the_image_of_another_before_it_leads(
    bench: Bench,
) -> None:
    leader, follower = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    await finish(bench, await bench.submit())
    await bench.cancel(leader)
    await bench.follow_up()
    job = await bench.job(follower)
    assert (job["status"], job["charged"], job["held"]) == ("succeeded", 0, 0)
    assert await bench.audit() == []


async def test_a_new_job_leads_in_the_moment_before_an_ended_leaders_followers_are_seen_to(
    bench: Bench,
) -> None:
    leader, follower = await bench.submit(reuse="exact"), await bench.submit(reuse="exact")
    await bench.cancel(leader)
    fresh = await bench.submit(reuse="exact")
    assert (await bench.job(fresh))["leader_id"] is None
    await bench.follow_up()
    assert (await bench.job(follower))["leader_id"] == fresh
    await finish(bench, fresh)
    assert await statuses(bench, [fresh, follower]) == ["succeeded", "succeeded"]
    assert await bench.audit() == []
