"""Fair dispatch: turns of projects, ranks inside one, caps and concurrency keys, whatever else waits."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from models import jobs
from models.accounts import caps
from models.accounts.caps import Caps
from models.coordination import workers
from models.jobs import Bounds, Dispatch
from models.jobs.queue import sharing
from models.jobs.view import Presenter
from models.platform.db import Database, Transaction
from models.platform.vault import Vault
from models.provider import pauses
from tests.conftest import make_project
from tests.fixtures.making import LEASE, NOTHING, Bench
from tests.fixtures.plans import jobs_looked_at

LONG = LEASE
# As many copies of a project's one queued job, each a millisecond younger than the last.
_CROWD = text("""
    INSERT INTO jobs (id, project_id, key_id, created_at, rank, model, input, input_hash, priority,
        queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate, waiting_reason,
        concurrency_key)
    SELECT gen_random_uuid(), project_id, key_id, created_at + n * interval '1 ms',
        rank + n * interval '1 ms', model, input, input_hash, priority, queue_expires_at,
        max_attempts, max_cost, on_unknown_charge, estimate, waiting_reason, concurrency_key
      FROM jobs, generate_series(1, :n) n WHERE id = :id
""")
_END = "UPDATE jobs SET status = 'expired', finished_at = now(), lease_until = NULL "


@pytest.fixture
async def others(database: Database, presenter: Presenter, vault: Vault) -> list[Bench]:
    """Two more projects."""
    made = [await make_project(database, vault, name) for name in ("b", "c")]
    return [Bench(database, presenter, caller) for caller, _ in made]


async def dispatch(
    bench: Bench, slots: int, calls: int | None = None, free: int = 10_000
) -> list[Dispatch]:
    """Dispatch so many, as a dispatcher does; of so many places that what is kept free binds nobody."""
    return await bench.do(
        lambda tx: jobs.dispatch(
            tx, slots, lease=LEASE, typical_call=NOTHING, bounds=Bounds(calls=calls, free=free)
        )
    )


async def dispatched(bench: Bench, slots: int) -> list[UUID]:
    """Dispatch so many; returns which, in their order."""
    return [each.job_id for each in await dispatch(bench, slots)]


async def crowd(bench: Bench, size: int, **changes: object) -> UUID:
    """Let so many jobs wait; returns the first of them."""
    first = await bench.submit(**changes)
    await bench.do(lambda tx: tx.execute(_CROWD, {"n": size - 1, "id": first}))
    return first


async def limit(bench: Bench, in_flight: int | None = None, per_key: int = 1) -> None:
    """Cap a project, as its operator does."""
    project, own = bench.caller.project_id, Caps(in_flight, per_key)
    await bench.do(lambda tx: caps.write(tx, project, own))


async def end(bench: Bench, *job_ids: UUID) -> None:
    """Let jobs in flight end; without any, all of the project's."""
    some = "AND id = ANY(:ids)" if job_ids else ""
    await bench.run(
        f"{_END} WHERE status IN ('released', 'running') AND project_id = :project {some}",
        project=bench.caller.project_id, **({"ids": list(job_ids)} if job_ids else {}),
    )  # fmt: skip


async def shares(bench: Bench, *projects: Bench) -> list[int]:
    """Count what was dispatched of each project."""
    rows = await bench.rows("SELECT project_id FROM jobs WHERE status = 'released'")
    counted = Counter(row["project_id"] for row in rows)
    return [counted[each.caller.project_id] for each in projects]


async def parked(bench: Bench) -> int:
    rows = await bench.rows(
        "SELECT count(*) AS n FROM jobs"
        " WHERE waiting_reason = 'concurrency_key' AND run_after IS NULL AND status = 'queued'"
    )
    return int(rows[0]["n"])


# Turns.


async def test_a_project_with_one_job_waits_for_no_more_than_a_round(
    bench: Bench, others: list[Bench]
) -> None:
    await crowd(bench, 5_000, priority="interactive")
    await dispatch(bench, 40)
    job = await others[0].submit(priority="bulk")
    assert job in await dispatched(bench, 2)


async def test_projects_that_wait_get_equal_shares_whatever_their_backlogs(
    bench: Bench, others: list[Bench]
) -> None:
    projects = (bench, *others)
    for project, size in zip(projects, (5_000, 150, 45), strict=True):
        await crowd(project, size)
    for slots in (1, 1, 1, 1, 2, 7, 1, 40, 5, 1, 3, 50, 4, 1):
        await dispatch(bench, slots)
        counted = await shares(bench, *projects)
        assert max(counted) - min(counted) <= 1, counted
    assert sum(await shares(bench, *projects)) == 118
    # The smallest has few left; the others share what it does not need.
    await dispatch(bench, 60)
    counted = await shares(bench, *projects)
    assert counted[2] == 45
    assert abs(counted[0] - counted[1]) <= 1


async def test_who_did_not_wait_has_no_credit(bench: Bench, others: list[Bench]) -> None:
    await crowd(bench, 200)
    await dispatch(bench, 100)
    await crowd(others[0], 200)
    await dispatch(bench, 20)
    mine, theirs = await shares(bench, bench, others[0])
    assert (mine + theirs, abs(theirs - 10) <= 1) == (120, True)


async def test_a_project_whose_jobs_are_not_due_takes_no_place_of_others(
    bench: Bench, others: list[Bench]
) -> None:
    late, backs_off = others
    await crowd(backs_off, 3)
    await bench.run("UPDATE jobs SET run_after = now() + interval '1 min'")
    await crowd(late, 3)
    await bench.run("UPDATE jobs SET queue_expires_at = now() WHERE run_after <= now()")
    job = await bench.submit()
    assert await dispatched(bench, 1) == [job]


async def test_places_that_are_left_go_to_whoever_can_use_them(
    bench: Bench, others: list[Bench]
) -> None:
    await crowd(bench, 50)
    few = [await others[0].submit() for _ in range(2)]
    assert len(found := await dispatched(bench, 30)) == 30
    assert set(few) < set(found)


async def test_a_release_that_is_rolled_back_leaves_all_as_it_was(bench: Bench) -> None:
    job = await bench.submit(concurrency_key="k")
    await crowd(bench, 3, concurrency_key="k")

    async def fail(tx: Transaction) -> None:
        assert await jobs.dispatch(tx, 2, lease=LEASE, typical_call=NOTHING)
        raise LookupError

    with pytest.raises(LookupError):
        await bench.do(fail)
    assert await parked(bench) == 0
    assert await bench.rows("SELECT * FROM turns") == []
    assert await dispatched(bench, 2) == [job]


# Ranks.


async def test_priority_is_a_lead_of_minutes_and_age_makes_up_for_it(bench: Bench) -> None:
    made = {
        (priority, age): await bench.submit(priority=priority)
        for priority, ages in {"interactive": (0, 3), "standard": (0, 4, 6), "bulk": (0, 59, 61)}.items()
        for age in ages
    }  # fmt: skip
    lead = await bench.rows("SELECT priority, rank - created_at AS lead FROM jobs")
    assert {row["priority"]: row["lead"] for row in lead} == {
        "interactive": timedelta(0),
        "standard": timedelta(minutes=5),
        "bulk": timedelta(minutes=60),
    }
    for (_, age), job in made.items():
        await bench.change(job, f"rank = rank - interval '{age} min'")
    names = {job: name for name, job in made.items()}
    assert [names[job] for job in await dispatched(bench, 9)] == [
        ("interactive", 3), ("standard", 6), ("bulk", 61), ("interactive", 0),
        ("standard", 4), ("bulk", 59), ("standard", 0), ("bulk", 0),
    ]  # fmt: skip


async def test_the_jobs_of_all_models_stand_in_one_line(bench: Bench) -> None:
    made = [await bench.submit() for _ in range(6)]
    for job in made[::2]:
        await bench.change(job, "model = 'another'")
    assert await dispatched(bench, 4) == made[:4]


# Caps.


async def test_a_capped_project_gets_its_cap_and_no_credit_for_it(
    bench: Bench, others: list[Bench]
) -> None:
    await limit(bench, in_flight=3)
    await crowd(bench, 300)
    await crowd(others[0], 300)
    for _ in range(4):
        await dispatch(bench, 10)
    assert await shares(bench, bench, others[0]) == [3, 37]
    await limit(bench)
    await dispatch(bench, 20)
    mine, theirs = await shares(bench, bench, others[0])
    assert (mine + theirs, abs(mine - 13) <= 1) == (60, True)


async def test_a_capped_project_goes_on_when_one_of_its_jobs_ends(bench: Bench) -> None:
    await limit(bench, in_flight=2)
    made = [await bench.submit() for _ in range(4)]
    assert await dispatched(bench, 9) == made[:2]
    assert await dispatched(bench, 9) == []
    await end(bench, made[0])
    assert await dispatched(bench, 9) == [made[2]]


async def test_a_paid_image_waits_for_no_cap_and_no_turn(bench: Bench) -> None:
    paid = await bench.running(concurrency_key="k")
    await bench.receive(paid)
    await bench.keep_later(paid)
    await limit(bench, in_flight=1)
    job = await bench.submit(concurrency_key="k")
    assert await dispatched(bench, 9) == [job]
    await bench.change(paid.job_id, "run_after = now()")
    assert await dispatch(bench, 9, calls=0) == [Dispatch(paid.job_id, 2, paid=True)]
    assert [row["turn"] for row in await bench.rows("SELECT turn FROM turns")] == [2]


async def test_an_image_that_is_being_kept_takes_a_slot_and_no_call(bench: Bench) -> None:
    await bench.do(
        lambda tx: workers.report(tx, "w1", generate_slots=5, deliver_slots=1, draining=False)
    )
    await bench.receive(await bench.running())
    await bench.running()

    capacity = await bench.do(lambda tx: workers.capacity(tx, seen=timedelta(seconds=20)))
    assert capacity.slots == 3
    assert [capacity.within(limit) for limit in (9, 3, 1)] == [3, 2, 0]


@pytest.mark.parametrize("waits", [True, False])
async def test_who_leaves_a_place_rings_for_the_next_if_one_waits(
    bench: Bench, rings: list[tuple[str, str]], *, waits: bool
) -> None:
    ref = await bench.running()
    if waits:
        await bench.submit()
    rings.clear()
    await bench.receive(ref)
    assert (("jobs", "") in rings) == waits
    rings.clear()
    await bench.succeed(ref)
    assert (("jobs", "") in rings) == waits


async def test_who_ends_in_the_general_way_rings_always(
    bench: Bench, rings: list[tuple[str, str]]
) -> None:
    ref = await bench.running(reuse="exact")
    rings.clear()
    await bench.receive(ref)
    await bench.succeed(ref)
    assert rings.count(("jobs", "")) == 2


# Concurrency keys.


async def test_one_job_of_a_key_passes_and_the_others_wait_for_it(bench: Bench) -> None:
    first, second = [await bench.submit(concurrency_key="k") for _ in range(2)]
    other, free = await bench.submit(concurrency_key="l"), await bench.submit()
    assert await dispatched(bench, 9) == [first, other, free]
    row = await bench.job(second)
    assert (row["waiting_reason"], row["run_after"]) == ("concurrency_key", None)
    assert await dispatched(bench, 9) == []
    await end(bench, first)
    assert await dispatched(bench, 9) == [second]


async def test_as_many_of_a_key_pass_as_its_project_allows(
    bench: Bench, others: list[Bench]
) -> None:
    await limit(bench, per_key=3)
    await crowd(bench, 5, concurrency_key="k")
    await crowd(others[0], 5, concurrency_key="k")
    await dispatch(bench, 9)
    assert await shares(bench, bench, others[0]) == [3, 1]
    await limit(bench, per_key=4)
    await dispatch(bench, 9)
    assert await shares(bench, bench, others[0]) == [4, 1]
    await limit(bench, per_key=1)
    await end(bench)
    await dispatch(bench, 9)
    assert await shares(bench, bench, others[0]) == [1, 1]


async def test_those_of_a_key_go_on_by_rank_and_each_once(bench: Bench) -> None:
    holder = await bench.submit(concurrency_key="k", priority="interactive")
    line = {
        priority: await bench.submit(concurrency_key="k", priority=priority)
        for priority in ("bulk", "standard")
    }
    assert await dispatched(bench, 9) == [holder]
    assert await parked(bench) == 2
    # Who comes later with a better rank is before them.
    line["interactive"] = await bench.submit(concurrency_key="k", priority="interactive")
    for priority in ("interactive", "standard", "bulk"):
        await end(bench)
        assert await dispatched(bench, 9) == [line[priority]]
        assert await dispatched(bench, 9) == []


async def test_a_long_line_of_one_key_holds_up_nobody_behind_it(bench: Bench) -> None:
    await crowd(bench, 2_500, concurrency_key="k")
    job = await bench.submit(concurrency_key="another", priority="bulk")
    found: list[UUID] = []
    for _ in range(3):
        found += await dispatched(bench, 1)
        found += await dispatched(bench, 1)
    assert job in found
    assert len(found) == 2
    assert await parked(bench) == 2_499
    await end(bench)
    assert len(await dispatched(bench, 9)) == 1


async def test_a_retry_gives_its_place_to_the_next_of_its_key_and_comes_before_the_others(
    bench: Bench,
) -> None:
    ref = await bench.running(concurrency_key="k")
    second, third = [await bench.submit(concurrency_key="k") for _ in range(2)]
    assert await dispatched(bench, 9) == []
    await bench.retry_later(ref, delay=LONG)
    assert await dispatched(bench, 9) == [second]
    await bench.change(ref.job_id, "run_after = now()")
    assert await dispatched(bench, 9) == []
    assert await parked(bench) == 2
    await end(bench)
    assert await dispatched(bench, 9) == [ref.job_id]
    await end(bench)
    assert await dispatched(bench, 9) == [third]


async def test_a_job_in_backoff_is_not_parked(bench: Bench) -> None:
    ref = await bench.running(concurrency_key="k")
    await bench.retry_later(ref, delay=LONG)
    later = await bench.submit(concurrency_key="k")
    assert await dispatched(bench, 9) == [later]
    await bench.submit(concurrency_key="k")
    assert await dispatched(bench, 9) == []
    assert await parked(bench) == 1
    row = await bench.job(ref.job_id)
    assert (row["waiting_reason"], row["run_after"] is None) == ("backoff", False)


async def test_who_waits_for_a_key_can_be_canceled_and_expires(bench: Bench) -> None:
    first, canceled, late, last = [await bench.submit(concurrency_key="k") for _ in range(4)]
    assert await dispatched(bench, 9) == [first]
    assert (await bench.cancel(canceled)).status == "canceled"
    await bench.change(late, "queue_expires_at = now()")
    await bench.cancel(first)
    assert await dispatched(bench, 9) == [last]
    assert await bench.expire_due() == 1
    assert await bench.audit() == []


async def test_who_was_handed_back_is_not_parked_any_more(bench: Bench) -> None:
    first, second = [await bench.submit(concurrency_key="k") for _ in range(2)]
    await dispatch(bench, 9)
    await end(bench, first)
    (again,) = await dispatch(bench, 9)
    assert await bench.hand_back(again.job_id, again.fence) == 1
    assert await parked(bench) == 0
    assert await dispatched(bench, 9) == [second]


async def test_releases_at_once_respect_keys_and_caps_and_hand_out_each_job_once(
    bench: Bench, others: list[Bench]
) -> None:
    await limit(bench, in_flight=4)
    for project in (bench, others[0]):
        for key in "klmnop":
            await crowd(project, 5, concurrency_key=key)
    handed: list[UUID] = []
    for _ in range(20):
        found = await asyncio.gather(*(dispatched(bench, 3) for _ in range(5)))
        handed += [job for batch in found for job in batch]
        rows = await bench.rows(
            "SELECT project_id, concurrency_key FROM jobs WHERE status = 'released'"
        )
        in_flight = [(row["project_id"], row["concurrency_key"]) for row in rows]
        assert len(in_flight) == len(set(in_flight))
        assert (await shares(bench, bench))[0] <= 4
        for project in (bench, others[0]):
            await end(project)
    assert len(handed) == len(set(handed)) == 60


# Places kept free.


async def test_one_project_leaves_an_eighth_of_the_places_to_whoever_comes(
    bench: Bench, others: list[Bench]
) -> None:
    await others[0].submit()
    await dispatch(others[0], 1)  # it had a turn lately, and waits for nothing now
    await end(others[0])
    await crowd(bench, 100)
    assert len(await dispatch(bench, 64, free=64)) == 56
    assert await dispatch(bench, 8, free=8) == []
    mine = await crowd(others[0], 20)
    come = [each.job_id for each in await dispatch(others[0], 8, free=8)]
    assert come[0] == mine
    assert await shares(bench, bench, others[0]) == [56, 7], "and of what was left"
    assert await dispatch(bench, 1, free=1) == [], "neither of them has the last"
    third = await crowd(others[1], 2)
    assert [each.job_id for each in await dispatch(others[1], 1, free=1)] == [third]


async def test_a_project_that_is_alone_has_all_places(bench: Bench) -> None:
    await crowd(bench, 100)
    assert len(await dispatch(bench, 64, free=64)) == 64


async def test_who_had_no_turn_for_long_is_not_waited_for(
    bench: Bench, others: list[Bench]
) -> None:
    for each in (others[0], bench):
        await each.submit()
        await dispatch(each, 1)
        await end(each)
    await bench.run(
        "UPDATE turns SET turn = turn + :lately WHERE project_id = :project",
        lately=sharing.LATELY, project=bench.caller.project_id,
    )  # fmt: skip
    await crowd(bench, 100)
    assert len(await dispatch(bench, 64, free=64)) == 64


# Costs.


async def test_a_release_looks_at_no_more_of_a_long_backlog(
    bench: Bench, database: Database, vault: Vault
) -> None:
    for n in range(19):
        caller, _ = await make_project(database, vault, f"p{n}")
        await crowd(Bench(database, bench.presenter, caller), 2_500)
    await crowd(bench, 2_500)
    keyed = await crowd(bench, 500, concurrency_key="k", priority="interactive")
    await bench.change(keyed, "model = 'paused'")
    await bench.run("UPDATE jobs SET model = 'paused' WHERE concurrency_key = 'k'")
    await bench.do(lambda tx: pauses.pause(tx, "model", "paused"))
    await bench.run("ANALYZE jobs")
    nobody: dict[str, object] = {
        "but_jobs": [],
        "but_projects": [],
        "whatever": True,
        "probing": False,
    }
    asked = {
        "slots": 40,
        "calls": 40,
        "free": 40,
        "lease": LEASE,
        "typical_call": NOTHING,
        **nobody,
    }
    for statement in (sharing.PAID, sharing.CALLS):
        assert await jobs_looked_at(bench, statement, asked) < 1_000
