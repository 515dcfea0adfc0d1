"""The plain way: it leaves what the general one leaves, and leaves alone what is not plain."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import get_args
from uuid import UUID, uuid4

import pytest
from psycopg.rows import DictRow
from sqlalchemy import select

from models import jobs
from models.accounts.callers import Caller
from models.errors import NotFound
from models.images import collector
from models.jobs import (
    Candidate,
    Idempotency,
    Kept,
    KeptImage,
    Received,
    Snapshot,
    Submission,
    Terms,
)
from models.jobs.attempts import Answer, Ref
from models.money import budgets
from models.money.budgets import Rule
from models.platform.vault import Vault
from models.schema import Job, Project
from models.states import Priority
from models.webhooks import deliveries, destinations
from models.webhooks.deliveries import Tried
from tests.fixtures import sending
from tests.fixtures.making import DAY, IMAGE, KEPT, LEASE, NOTHING, PRICE, Bench, asked
from tests.fixtures.zones import NOON

# What is another in every job: ids, secrets of chance, and times.
_OWN = {"id", "job_id", "event_id", "start_id", "client_request_id"}
_ID, _TIME = re.compile(r"[a-z]+_[0-9a-zA-Z]{22,}"), re.compile(r"\d{4}-\d\d-\d\dT[^\"]+")
_SIGNED = re.compile(r"(exp|sig)=[^\"&]+")
_HOOK = "https://receiver.example/job"


async def _through(bench: Bench, vault: Vault, **changes: object) -> UUID:
    """Take a job from submission to its delivered webhook."""
    ref = await bench.running(webhook_url=_HOOK, **changes)
    assert await bench.receive(ref) == ("keep", ref)
    assert await bench.succeed(ref)
    for woken in await sending.wake(bench):
        assert await sending.take(bench, vault, woken)
        assert await sending.record(bench, woken, sending.DELIVERED) == "delivered"
    return ref.job_id


async def test_both_ways_leave_the_same_rows(bench: Bench, vault: Vault) -> None:
    await sending.endpoint(bench, vault)
    plain, general = bench, replace(bench, plain=False)
    made = [await _through(each, vault) for each in (plain, general)]
    one, other = [_bare(await bench.everything_of(each)) for each in made]
    assert one == other
    assert [len(one[table]) for table in ("attempts", "ledger", "images", "deliveries")] == [
        1, 3, 1, 2,
    ]  # fmt: skip
    tries = [
        await bench.rows(
            "SELECT t.* FROM delivery_tries t JOIN deliveries d ON d.id = t.delivery_id "
            "WHERE d.job_id = :id ORDER BY endpoint_id NULLS LAST",
            id=each,
        )
        for each in made
    ]
    drop = {"delivery_id", "at"}
    first, second = ([_without(row, drop) for row in each] for each in tries)
    assert first == second
    assert await bench.audit() == []


def _any_submission(chance: Random) -> Submission:
    """Draw a submission: each of its columns is given or left out, with what is odd to SQL in texts."""
    odd = ["%", "%(id)s", "it's", "\\", "é 狐", ":id", "{}", "x" * 5000]
    priorities: tuple[Priority, ...] = get_args(Priority)
    draws: dict[str, Callable[[], object]] = {
        "estimate": lambda: chance.choice([1, PRICE]),
        "large": lambda: chance.random() < 0.5,
        "priority": lambda: chance.choice(priorities),
        "tags": lambda: tuple(chance.sample(odd, 2)),
        "metadata": lambda: {chance.choice(odd): chance.choice(odd)},
        "customer": lambda: chance.choice(odd),
        "concurrency_key": lambda: chance.choice(odd),
        "webhook_url": lambda: _HOOK,
        "webhook_events": lambda: chance.choice([(), ("job.running", "job.failed")]),
        "queue_ttl": lambda: timedelta(seconds=chance.randint(60, 10_000)),
        "deadline": lambda: datetime.now(UTC) + DAY,
        "max_attempts": lambda: chance.randint(1, 9),
        "max_cost": lambda: chance.randint(1, 9) * PRICE,
        "on_unknown_charge": lambda: chance.choice(["retry", "wait", "fail"]),
    }
    given = {name: draw() for name, draw in draws.items() if chance.random() < 0.5}
    return asked(chance.choice(odd), **given)


@pytest.mark.parametrize("budgeted", [False, True])
async def test_both_ways_accept_any_job_alike(bench: Bench, *, budgeted: bool) -> None:
    if budgeted:
        await _limit(bench, 10_000)
    caller, chance = replace(bench.caller, budgeted=budgeted), Random(7)  # noqa: S311 - it draws test data
    for nth in range(12):
        submission = _any_submission(chance)
        names: list[Idempotency | None] = [
            ("submit", f"{way}{nth}", b"print") if nth % 2 else None for way in "ab"
        ]
        plain = await _in_one(bench, caller, submission, names[0])
        assert plain is not None
        async with bench.database.transaction() as tx:
            general, _ = await jobs.submit(
                tx, bench.presenter, bench.caller, submission, idempotency=names[1]
            )
        rows = [await _accepted(bench, each) for each in (plain.job.id, general.id)]
        assert rows[0] == rows[1]
        assert [len(rows[0][each]) for each in ("jobs", "ledger")] == [1, 1]
    assert await bench.audit() == []


@pytest.mark.parametrize("budgeted", [False, True])
async def test_both_ways_find_the_same_place_for_who_may_reuse(
    bench: Bench, *, budgeted: bool
) -> None:
    if budgeted:
        await _limit(bench, 10_000)
    caller = replace(bench.caller, budgeted=budgeted)
    same = asked("the same", reuse="exact", webhook_url=_HOOK)

    async def in_both_ways(leader: Job) -> dict[str, list[dict[str, object]]]:
        plain = await jobs.admit_reusing(bench.database.direct, bench.presenter, caller, same, None)
        assert plain is not None
        read = await jobs.read(bench.database.direct, caller.project_id, plain.job.id)
        assert plain.show(bench.presenter) == read.show(bench.presenter)
        general = await bench.do(lambda tx: jobs.submit(tx, bench.presenter, bench.caller, same))
        made = plain.job.id, general[0].id
        one, other = [_bare(await bench.everything_of(each)) for each in made]
        if one["jobs"][0]["reused_from"] is not None:  # the newest of those that have the image
            assert other["jobs"][0].pop("reused_from") == plain.job.id
            other["jobs"][0]["reused_from"] = leader.id
        assert one == other
        return one

    leader = await jobs.admit_reusing(bench.database.direct, bench.presenter, caller, same, None)
    assert leader is not None
    behind = await in_both_ways(leader.job)
    assert behind["jobs"][0]["leader_id"] == leader.job.id
    ref = await bench.begin(leader.job.id)
    await bench.receive(ref)
    assert await bench.succeed(ref)
    done = await in_both_ways(leader.job)
    told = [len(done[each]) for each in ("jobs", "ledger", "images", "events", "deliveries")]
    assert (done["jobs"][0]["reused_from"], told) == (leader.job.id, [1, 0, 1, 1, 1])
    assert await bench.follow_up() == 2
    assert await bench.audit() == []


async def _accepted(bench: Bench, job_id: UUID) -> dict[str, list[dict[str, object]]]:
    """Read all of a new job; its times are told from its creation, but for the one it was given."""
    found = await bench.everything_of(job_id)
    born = found["jobs"][0]["created_at"]
    return {
        table: [
            {
                name: value - born if isinstance(value, datetime) and name != "deadline" else value
                for name, value in row.items()
                if name not in {"id", "job_id", "created_at", "idempotency_key"}
            }
            for row in rows
        ]
        for table, rows in found.items()
    }


async def test_what_is_plain_goes_the_plain_way(bench: Bench, vault: Vault) -> None:
    direct = bench.database.direct
    await sending.endpoint(bench, vault)
    ref = await _started(bench, await bench.submit())
    assert await bench.receive_plain(ref)
    job = await bench.succeed_plain(ref)
    assert job is not None
    assert (job.status, job.held, job.charged) == ("succeeded", 0, PRICE)
    (woken,) = await sending.wake(bench)
    (claimed,) = await deliveries.take_plain(direct, vault, [woken], LEASE)
    assert b'"job.succeeded"' in claimed.body
    delivered = [Tried(*woken, datetime.now(UTC), sending.DELIVERED)]
    assert (await deliveries.record_plain(direct, sending.PATIENCE, delivered)).done == [True]
    assert (await deliveries.record_plain(direct, sending.PATIENCE, delivered)).done == [False]


async def test_a_row_without_a_column_is_a_row(bench: Bench) -> None:
    assert await bench.database.direct.read(b"SELECT FROM generate_series(1, 2)", {}) == [{}, {}]


async def _admit(bench: Bench, **changes: object) -> Snapshot | None:
    """Submit in one statement, as who knows that there is a budget."""
    caller = replace(bench.caller, budgeted=True)
    return await _in_one(bench, caller, asked(**changes))  # type: ignore[arg-type] # as in `Bench.submit`


async def _in_one(
    bench: Bench, caller: Caller, submission: Submission, name: Idempotency | None = None
) -> Snapshot | None:
    """Submit in the statement that makes many together."""
    candidate = Candidate.of(caller, submission, name)
    found = await jobs.admit_several(bench.database.direct, [candidate], budgeted=caller.budgeted)
    return found.get(candidate)


async def _limit(bench: Bench, jobs_: int, **rule: object) -> None:
    """Put a budget with room for so many jobs beside one that is held already."""
    wanted = {
        "scope": "project",
        "window": "day",
        "timezone": NOON,
        "mode": "hard",
    } | rule
    made = Rule(limit=(jobs_ + 1) * PRICE, **wanted)  # type: ignore[arg-type] # a test names what it changes
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, made))
    if not await bench.rows("SELECT FROM budget_windows WHERE held > 0"):
        await bench.submit(customer="c")


async def test_within_its_budgets_a_job_is_admitted_in_one_statement(bench: Bench) -> None:
    await _limit(bench, 2)
    await _limit(bench, 9, scope="customer", customer="c", window="month")
    await _limit(bench, 0, window="total", mode="soft")
    await bench.submit(customer="c")
    assert await _admit(bench, customer="c") is not None
    held = await bench.rows("SELECT held FROM budget_windows ORDER BY 1")
    assert [row["held"] for row in held] == [3 * PRICE] * 3
    assert await _admit(bench, customer="c") is None
    assert await _admit(bench) is None
    assert len(await bench.rows("SELECT FROM jobs")) == 3
    assert await bench.audit() == []


async def test_of_many_at_once_as_many_are_admitted_as_there_is_room(bench: Bench) -> None:
    await _limit(bench, 7)
    await _limit(bench, 5, scope="key", key_id=bench.caller.key_id, window="month")
    made = await asyncio.gather(*(_admit(bench) for _ in range(30)))
    assert sum(each is not None for each in made) == 5
    assert await bench.audit() == []


async def test_who_waited_for_a_new_budget_does_not_pass_it_by(bench: Bench) -> None:
    await _limit(bench, 7)
    rule = Rule("project", "total", "UTC", 0, "hard")
    async with bench.database.transaction() as tx:
        await budgets.put(tx, bench.caller.project_id, rule)
        waiting = asyncio.create_task(_admit(bench))
        blocked = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not await bench.rows(blocked):
            assert not waiting.done()
    assert await waiting is None
    assert await _admit(bench) is None
    assert await bench.audit() == []


async def test_its_version_names_the_state_that_reading_all_of_it_names(
    bench: Bench, vault: Vault
) -> None:
    made = [await bench.submit(), (await bench.running()).job_id, await _through(bench, vault)]
    waiting = await bench.running()
    await bench.retry_later(waiting, delay=LEASE)
    canceled = await bench.submit()
    await bench.cancel(canceled)
    direct, project = bench.database.direct, bench.caller.project_id
    for job_id in (*made, waiting.job_id, canceled):
        looked = await jobs.read(direct, project, job_id)
        version = await jobs.read_versions(direct, [(project, job_id)])
        assert version[project, job_id].etag == looked.etag
        async with bench.database.transaction() as tx:
            assert (await jobs.read(tx, project, job_id)).etag == looked.etag
            assert looked.show(bench.presenter) == (await jobs.read(tx, project, job_id)).show(
                bench.presenter
            )
    with pytest.raises(NotFound):
        await jobs.read(direct, uuid4(), made[0])
    assert not await jobs.read_versions(direct, [(uuid4(), made[0])])


Spoil = Callable[[Bench, Vault, UUID], Awaitable[object]]


async def _budget(bench: Bench, _: Vault, __: UUID) -> None:
    rule = Rule("project", "day", NOON, 9 * PRICE, "soft")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))


async def _cancel(bench: Bench, _: Vault, job_id: UUID) -> None:
    await bench.cancel(job_id)


async def _remnant(bench: Bench, _: Vault, __: UUID) -> None:
    blob = (bench.caller.project_id, KEPT.sha256)
    await bench.do(lambda tx: collector.reserve(tx, [blob]))


async def _reap(bench: Bench, _: Vault, job_id: UUID) -> None:
    assert await bench.reap(job_id) == 1


async def _listen(bench: Bench, vault: Vault, _: UUID) -> None:
    await sending.endpoint(bench, vault, "job.running")


@pytest.mark.parametrize("spoil", [_listen, _cancel, _reap])
async def test_a_start_that_is_not_plain_begins_nothing(
    bench: Bench, vault: Vault, spoil: Spoil
) -> None:
    job_id = await bench.submit()
    fence = await bench.dispatch(job_id)
    await spoil(bench, vault, job_id)
    before = await bench.everything_of(job_id)
    assert await jobs.start_plain(bench.database.direct, [(job_id, fence)], **_terms()) == []
    assert await bench.everything_of(job_id) == before


@pytest.mark.parametrize(
    ("spoil", "answer"),
    [
        (_budget, IMAGE),
        (_reap, IMAGE),
        (None, replace(IMAGE, credits=PRICE + 1)),
        (None, replace(IMAGE, charge="unknown", credits=None)),
    ],
)
async def test_an_image_that_is_not_plain_is_not_booked(
    bench: Bench, vault: Vault, spoil: Spoil | None, answer: Answer
) -> None:
    ref = await bench.running()
    if spoil is not None:
        await spoil(bench, vault, ref.job_id)
    before = await bench.everything_of(ref.job_id)
    assert not await bench.receive_plain(ref, answer)
    assert not await bench.receive_plain(replace(ref, start_id=uuid4()))
    assert await bench.everything_of(ref.job_id) == before


@pytest.mark.parametrize("spoil", [_cancel, _remnant, _reap])
async def test_an_end_that_is_not_plain_ends_nothing(
    bench: Bench, vault: Vault, spoil: Spoil
) -> None:
    ref = await bench.running()
    await bench.receive(ref)
    await spoil(bench, vault, ref.job_id)
    before = await bench.everything_of(ref.job_id)
    assert await bench.succeed_plain(ref) is None
    assert await bench.everything_of(ref.job_id) == before


async def test_who_leads_others_goes_the_general_way(bench: Bench) -> None:
    ref = await bench.running(reuse="exact")
    assert not await bench.receive_plain(ref)
    assert await bench.receive(ref)
    assert await bench.succeed_plain(ref) is None


# What comes together is one statement.


async def test_of_a_group_each_is_left_as_it_would_be_alone(bench: Bench, vault: Vault) -> None:
    await sending.endpoint(bench, vault)
    ways = [await _made(bench), await _made(replace(bench, plain=False))]
    received = [Received(ref, replace(IMAGE, inference_id=name)) for name, ref in ways[0].items()]
    kept = [Kept(each.ref, _kept(str(each.answer.inference_id))) for each in received]
    assert all((await _receive(bench, received)).values())
    ended, told = await _succeed(bench, kept)
    assert {each: job.id for each, job in ended.items()} == {each: each.ref.job_id for each in kept}
    assert len(told) == len(kept) + 1, "one of them has a URL of its own"
    for name, ref in ways[1].items():
        assert await bench.do(
            lambda tx, ref=ref, name=name: jobs.receive(  # type: ignore[misc] # of this turn
                tx, bench.presenter, ref, replace(IMAGE, inference_id=name), lease=LEASE, ttl=DAY
            )
        ) == ("keep", ref)
        assert await bench.do(
            lambda tx, ref=ref, name=name: jobs.succeed(tx, bench.presenter, ref, _kept(name))  # type: ignore[misc] # as above
        )
    for one, other in zip(*(each.values() for each in ways), strict=True):
        rows = [_bare(await bench.everything_of(each.job_id)) for each in (one, other)]
        assert rows[0] == rows[1]
        assert len(rows[0]["images"]) == 1
    assert await bench.audit() == []


async def _made(bench: Bench) -> dict[str, Ref]:
    """Make jobs of several kinds, each with a call under way."""
    again = await bench.running()
    await bench.retry_later(again)
    again = await bench.begin(again.job_id)
    return {
        "plain": await bench.running(),
        "told": await bench.running(webhook_url=_HOOK),
        "after a failure": again,
        "described": await bench.running(metadata={"a": "%(x)s"}, customer="it's", tags=("é 狐",)),
    }


def _kept(name: str) -> KeptImage:
    return replace(KEPT, sha256=sha256(name.encode()).hexdigest(), width=len(name))


async def _receive(bench: Bench, received: Sequence[Received]) -> dict[Received, bool]:
    direct, project_id = bench.database.direct, bench.caller.project_id
    return await jobs.receive_several(direct, project_id, received, lease=LEASE, ttl=DAY)


async def _succeed(bench: Bench, kept: Sequence[Kept]) -> tuple[dict[Kept, Job], list[str]]:
    direct, project_id = bench.database.direct, bench.caller.project_id
    return await jobs.succeed_several(direct, bench.presenter, project_id, kept)


async def test_of_a_group_those_that_are_not_plain_are_left_alone(
    bench: Bench, vault: Vault
) -> None:
    good, dear, gone, leads, strange = [
        await bench.running(reuse=reuse) for reuse in ("never",) * 3 + ("exact", "never")
    ]
    await _reap(bench, vault, gone.job_id)
    answers = {
        good: IMAGE,
        dear: replace(IMAGE, credits=PRICE + 1),
        gone: IMAGE,
        leads: IMAGE,
        replace(strange, start_id=uuid4()): IMAGE,
    }
    left = [each.job_id for each in answers if each != good]
    before = [await bench.everything_of(each) for each in left]
    booked = await _receive(bench, [Received(*each) for each in answers.items()])
    assert [each.ref for each, done in booked.items() if done] == [good]
    assert [await bench.everything_of(each) for each in left] == before
    assert await bench.audit() == []


async def test_of_a_group_that_ends_those_that_are_not_plain_go_on(
    bench: Bench, vault: Vault
) -> None:
    good, canceled, taken, deleted, other = [await bench.running() for _ in range(5)]
    for ref in (good, canceled, taken, deleted, other):
        assert await bench.receive(ref)
    await bench.cancel(canceled.job_id)
    await _reap(bench, vault, taken.job_id)
    blob = (bench.caller.project_id, _kept("deleted").sha256)
    await bench.do(lambda tx: collector.reserve(tx, [blob]))
    kept = [
        *(Kept(ref, _kept("kept")) for ref in (good, canceled, taken)),
        Kept(deleted, _kept("deleted")),
        Kept(other, replace(_kept("reserved"), reserved=True)),
    ]
    left = [each.ref.job_id for each in kept if each.ref != good]
    before = [await bench.everything_of(each) for each in left]
    ended, _ = await _succeed(bench, kept)
    assert [each.ref for each in ended] == [good]
    assert [await bench.everything_of(each) for each in left] == before
    assert await bench.audit() == []


async def test_what_another_has_locked_holds_up_none_of_its_group(bench: Bench) -> None:
    locked, free = await bench.running(), await bench.running()
    received = [Received(locked, IMAGE), Received(free, IMAGE)]
    async with bench.database.transaction() as tx:
        await tx.execute(select(Job.id).where(Job.id == locked.job_id).with_for_update())
        async with asyncio.timeout(10):
            assert [*(await _receive(bench, received)).values()] == [False, True]
    assert await bench.receive_plain(locked)
    kept = [Kept(ref, KEPT) for ref in (locked, free)]
    async with bench.database.transaction() as tx:
        await tx.execute(select(Job.id).where(Job.id == locked.job_id).with_for_update())
        async with asyncio.timeout(10):
            ended, _ = await _succeed(bench, kept)
    assert [each.ref for each in ended] == [free]
    assert await bench.succeed_plain(locked)
    assert await bench.audit() == []


@pytest.mark.parametrize("ends", [False, True])
async def test_a_group_that_waits_for_its_project_holds_none_of_its_jobs(
    bench: Bench, *, ends: bool
) -> None:
    refs = [await bench.running() for _ in range(3)]
    if ends:
        for ref in refs:
            assert await bench.receive(ref)
    async with bench.database.transaction() as tx:
        mine = select(Project.id).where(Project.id == bench.caller.project_id)
        await tx.execute(mine.with_for_update())
        write = (
            _succeed(bench, [Kept(ref, KEPT) for ref in refs])
            if ends
            else _receive(bench, [Received(ref, IMAGE) for ref in refs])
        )
        writing = asyncio.create_task(write)
        async with asyncio.timeout(10):
            while not await bench.rows(_WAITS):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        free = await bench.rows("SELECT id FROM jobs FOR NO KEY UPDATE SKIP LOCKED")
        assert len(free) == len(refs)
    await writing
    assert await bench.audit() == []


_WAITS = """
    SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@pytest.mark.parametrize("plain", [True, False])
async def test_a_job_that_ends_with_an_earlier_image_tells_of_all_its_calls(
    bench: Bench, *, plain: bool
) -> None:
    bench = replace(bench, plain=plain)
    late = await bench.running(max_cost=9 * PRICE)
    await bench.reap(late.job_id)
    fresh = await bench.begin(late.job_id, worker="w2")
    await bench.retry_later(fresh, delay=LEASE)
    adopted = await bench.receive(late)
    assert adopted is not None
    assert await bench.succeed(adopted[1])
    (row,) = await bench.rows("SELECT body FROM events WHERE type = 'job.succeeded'")
    told = json.loads(row["body"])["data"]["attempts"]
    assert [each["number"] for each in told] == [1, 2]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_delivery_whose_endpoint_moved_is_taken_at_its_new_url(
    bench: Bench, vault: Vault, *, plain: bool
) -> None:
    made = await sending.endpoint(bench, vault)
    await sending.finished(bench)
    (woken,) = await sending.wake(bench)
    moved = "UPDATE endpoints SET url = 'https://elsewhere.example/' WHERE id = :id"
    await bench.run(moved, id=made.id)
    claimed = await sending.take(replace(bench, plain=plain), vault, woken)
    assert claimed is not None
    assert claimed.url == "https://elsewhere.example/"
    kept = await bench.rows("SELECT url FROM deliveries WHERE id = :id", id=woken[0])
    assert kept[0]["url"] == claimed.url


@pytest.mark.parametrize("trouble", ["lane", "endpoint"])
async def test_a_success_after_trouble_is_recorded_in_the_general_way(
    bench: Bench, vault: Vault, trouble: str
) -> None:
    made, woken = await sending.sending(bench, vault)
    if trouble == "lane":
        await bench.do(
            lambda tx: destinations.slow(tx, destinations.of_endpoint(made.id), timedelta(0))
        )
    else:
        await bench.run("UPDATE endpoints SET failing_since = now(), failing_deliveries = 1")
    delivered = Tried(*woken, datetime.now(UTC), sending.DELIVERED)
    assert (
        await deliveries.record_plain(bench.database.direct, sending.PATIENCE, [delivered])
    ).done == [False]
    assert await sending.record(bench, woken, sending.DELIVERED) == "delivered"
    well = await bench.rows("SELECT 1 FROM endpoints WHERE failing_since IS NOT NULL")
    slow = await bench.rows("SELECT 1 FROM lanes WHERE slow")
    assert not well
    assert not slow


async def test_both_ways_count_the_failures_of_an_endpoint_alike(
    bench: Bench, vault: Vault
) -> None:
    left = []
    for each in (bench, replace(bench, plain=False)):
        made = await sending.endpoint(each, vault)
        first = [await sending.one_more(each, vault) for _ in range(3)]
        for woken in first:
            assert await sending.record(each, woken, sending.LATER) == "pending"
        again = await sending.tried_again(each, vault)
        assert await sending.record(each, again, sending.LATER) == "pending"
        found = await sending.find(each, made)
        tries = await each.rows(
            "SELECT number, result FROM delivery_tries JOIN deliveries d ON d.id = delivery_id "
            "WHERE endpoint_id = :id ORDER BY 1", id=made.id,
        )  # fmt: skip
        states = await each.rows(
            "SELECT state, tries, next_at > now() AS later, lease_until, finished_at FROM deliveries "
            "WHERE endpoint_id = :id ORDER BY tries", id=made.id,
        )  # fmt: skip
        left.append((found.failing_since is not None, found.failing_deliveries, tries, states))
        await sending.change(each, made, enabled=False)
    assert left[0] == left[1]
    assert left[0][:2] == (True, 3), "each delivery counts once"


@pytest.mark.parametrize(
    "trouble",
    ["enabled = false", "url = 'https://other.example/'", "failing_since = now() - interval '1 day'",
     "deleted_at = now()"],
)  # fmt: skip
async def test_a_failure_with_more_to_say_is_left_to_the_general_way(
    bench: Bench, vault: Vault, trouble: str
) -> None:
    _, woken = await sending.sending(bench, vault)
    await bench.run(f"UPDATE endpoints SET {trouble}")  # noqa: S608 - ours
    line = Tried(*woken, datetime.now(UTC), sending.LATER)
    direct = bench.database.direct
    assert (await deliveries.record_plain(direct, sending.PATIENCE, [line])).done == [False]
    assert await sending.states(bench) == [("sending", 1)]
    (row,) = await bench.rows("SELECT failing_deliveries FROM endpoints")
    assert row["failing_deliveries"] == 0


async def _started(bench: Bench, job_id: UUID) -> Ref:
    fence = await bench.dispatch(job_id)
    (start,) = await jobs.start_plain(bench.database.direct, [(job_id, fence)], **_terms())
    return start.ref


def _terms() -> Terms:
    return {
        "start_id": uuid4(), "worker": "w1", "key_prefix": "k", "lease": LEASE,
        "typical_call": NOTHING,
    }  # fmt: skip


def _bare(found: Mapping[str, Sequence[DictRow]]) -> dict[str, list[dict[str, object]]]:
    """Leave out what is each job's own, and put what is told in an order."""
    return {
        table: sorted((_without(row, _OWN) for row in rows), key=str)
        for table, rows in found.items()
    }


def _without(row: DictRow, names: set[str]) -> dict[str, object]:
    """Return a row without these, and say of a time only whether there is one."""
    return {name: _alike(value) for name, value in row.items() if name not in names}


def _alike(value: object) -> object:
    """Return what two jobs have in common in a column: of a time only whether there is one."""
    if isinstance(value, bytes) and value.startswith(b"{"):
        return _SIGNED.sub("signed", _TIME.sub("time", _ID.sub("id", value.decode())))
    return value is not None if isinstance(value, datetime) else value
