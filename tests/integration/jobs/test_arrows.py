"""The state machine: every arrow at every state, and races between arrows."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from models import jobs
from models.accounts.callers import Caller
from models.jobs import Start
from models.jobs.attempts import Answer, Ref
from models.jobs.view import Presenter
from models.platform.db import Database
from tests.fixtures.making import (
    EMPTY_PAID,
    FREE,
    IMAGE,
    LEASE,
    LOST,
    NOTHING,
    PRICE,
    REFUSED,
    Bench,
)

LONG = LEASE  # a retry delay that no test waits for
TERMINAL = {"succeeded", "failed", "canceled", "expired"}


@pytest.fixture(params=[True, False], ids=["plain", "general"])
def bench(
    database: Database, presenter: Presenter, caller: Caller, request: pytest.FixtureRequest
) -> Bench:
    """A worker goes the plain way first; what follows must not tell which one it was."""
    return Bench(database, presenter, caller, plain=request.param)


# Every state, each with the reference that its last worker holds, or would make up.


async def queued(bench: Bench) -> Ref:
    return Ref(await bench.submit(), 0, 1, uuid4())


async def backoff(bench: Bench) -> Ref:
    ref = await bench.running()
    assert await bench.retry_later(ref, delay=LONG)
    return ref


async def waiting(bench: Bench) -> Ref:
    ref = await bench.running(on_unknown_charge="wait")
    assert await bench.lose(ref)
    return ref


async def released(bench: Bench) -> Ref:
    job_id = await bench.submit()
    return Ref(job_id, await bench.dispatch(job_id), 1, uuid4())


async def running(bench: Bench) -> Ref:
    return await bench.running()


async def overtaken_and_kept(bench: Bench) -> Ref:
    """A second call is under way, and the first one's image is kept."""
    late = await bench.running()
    await bench.reap(late.job_id)
    fresh = await bench.begin(late.job_id)
    assert await bench.receive(late) == ("late", late)
    assert await bench.keep_late(late) is None
    return fresh


async def keeping(bench: Bench) -> Ref:
    ref = await bench.running()
    assert await bench.receive(ref)
    return ref


async def queued_keep(bench: Bench) -> Ref:
    ref = await keeping(bench)
    assert await bench.keep_later(ref)
    return ref


async def succeeded(bench: Bench) -> Ref:
    ref = await keeping(bench)
    assert await bench.succeed(ref)
    return ref


async def failed(bench: Bench) -> Ref:
    ref = await bench.running()
    assert await bench.refuse(ref)
    return ref


async def canceled(bench: Bench) -> Ref:
    ref = await backoff(bench)
    await bench.cancel(ref.job_id)
    return ref


async def expired(bench: Bench) -> Ref:
    ref = await backoff(bench)
    assert await bench.expire(ref.job_id)
    return ref


async def _dispatch(bench: Bench, ref: Ref) -> object:
    found = await bench.do(lambda tx: jobs.dispatch(tx, 1_000, lease=LEASE, typical_call=NOTHING))
    return ref.job_id in {each.job_id for each in found}


ARROWS: dict[str, Callable[[Bench, Ref], Awaitable[object]]] = {
    "dispatch": _dispatch,
    "hand_back": lambda b, r: b.hand_back(r.job_id, r.fence),
    "start": lambda b, r: b.start(r.job_id, r.fence),
    "receive": lambda b, r: b.receive(r),
    "succeed": lambda b, r: b.succeed(r),
    "retry_later": lambda b, r: b.retry_later(r, delay=LONG),
    "refuse": lambda b, r: b.refuse(r),
    "park": lambda b, r: b.park(r),
    "lose": lambda b, r: b.lose(r),
    "keep_later": lambda b, r: b.keep_later(r),
    "cancel": lambda b, r: b.cancel(r.job_id),
    "expire": lambda b, _: b.expire_due(),
    "reap": lambda b, _: b.reap_due(),
    "resolve_free": lambda b, r: b.resolve(r.job_id),
    "resolve_charged": lambda b, r: b.resolve(r.job_id, credits_=PRICE),
}
# Where an arrow leads that changes nothing: the job gave nothing, or itself.
_STILL = "nothing", "as it was"
# What the clock decides, before the arrow may fly.
_CLOCKS = {
    "expire": "queue_expires_at = now() - interval '1 s'",
    "reap": "lease_until = lease_until - interval '1 h'",
}

# (state, arrow) → where it leads. Whatever is not here gives nothing and changes nothing.
DIAGRAM: dict[Callable[[Bench], Awaitable[Ref]], dict[str, str]] = {
    queued: {"dispatch": "released", "cancel": "canceled", "expire": "expired"},
    backoff: {"cancel": "canceled", "expire": "expired"},
    # A late worker still finds out what its own call cost; that is what this job waits for.
    waiting: {
        "receive": "running keep",
        "retry_later": "queued, by what the late worker knew",
        "refuse": "queued, by what the late worker knew",
        "park": "queued, by what the late worker knew",
        "lose": "the attempt alone",
        "cancel": "canceled",
        "expire": "expired",
        "resolve_free": "queued",
        "resolve_charged": "failed",
    },
    released: {
        "hand_back": "queued",
        "start": "running",
        "cancel": "canceled",
        "expire": "expired",
        "reap": "queued",
    },
    running: {
        "receive": "running keep",
        "retry_later": "queued",
        "refuse": "failed",
        "park": "queued",
        "lose": "queued",
        "cancel": "running, to be canceled",
        "reap": "queued",
    },
    overtaken_and_kept: {
        "receive": "running keep",
        "retry_later": "succeeded",
        "refuse": "succeeded",
        "park": "succeeded",
        "lose": "succeeded",
        "cancel": "running, to be canceled",
        "reap": "succeeded",
    },
    keeping: {
        "receive": "as it was",
        "succeed": "succeeded",
        "keep_later": "queued keep",
        "cancel": "running keep, to be canceled",
        "reap": "queued keep",
    },
    queued_keep: {"cancel": "queued keep, to be canceled"},
    succeeded: {"cancel": "as it was"},
    failed: {"cancel": "as it was"},
    canceled: {"cancel": "as it was"},
    expired: {"cancel": "as it was"},
}


@pytest.mark.long
@pytest.mark.parametrize("state", DIAGRAM, ids=lambda state: state.__name__)
async def test_only_the_arrows_of_the_diagram_move_a_job(
    bench: Bench, state: Callable[[Bench], Awaitable[Ref]]
) -> None:
    seen: dict[str, str] = {}
    ref: Ref | None = None
    for arrow in ARROWS:
        ref = ref or await state(bench)
        seen[arrow] = await _fly(bench, ref, arrow)
        if arrow in _CLOCKS or seen[arrow] not in _STILL:
            ref = None  # it is another one by now; making one anew each time would be dear

    assert {arrow: led for arrow, led in seen.items() if led != "nothing"} == DIAGRAM[state]
    assert await bench.audit() == []


async def _fly(bench: Bench, ref: Ref, arrow: str) -> str:
    if arrow in _CLOCKS:
        await bench.change(ref.job_id, _CLOCKS[arrow])
    before = await bench.everything_of(ref.job_id)
    gave = await ARROWS[arrow](bench, ref)
    after = await bench.everything_of(ref.job_id)
    if after == before:
        return _STILL[bool(gave)]
    if after["jobs"] == before["jobs"]:
        return "the attempt alone"
    job = after["jobs"][0]
    keep = " keep" if job["phase"] == "keep" and job["status"] not in TERMINAL else ""
    asked_to = ", to be canceled" if job["cancel_outcome"] == "pending" else ""
    late = "" if gave else ", by what the late worker knew"
    return f"{job['status']}{keep}{asked_to}{late}"


async def test_what_waits_is_dispatched_when_it_is_due_and_not_before(bench: Bench) -> None:
    first, second = await backoff(bench), await queued_keep(bench)
    assert not await _dispatch(bench, first)
    assert not await _dispatch(bench, second)

    await bench.run("UPDATE jobs SET run_after = now() - interval '1 s'")
    fences = [await bench.dispatch(ref.job_id) for ref in (first,)]

    assert fences == [2]
    assert (await bench.job(second.job_id))["status"] == "released"


async def test_a_paid_image_is_dispatched_while_calls_are_not(bench: Bench) -> None:
    await queued(bench)
    paid = await queued_keep(bench)
    await bench.run("UPDATE jobs SET run_after = now(), queue_expires_at = now()")

    found = await bench.do(
        lambda tx: jobs.dispatch(
            tx, 9, lease=LEASE, typical_call=NOTHING, bounds=jobs.Bounds(calls=0)
        )
    )

    assert [each.job_id for each in found] == [paid.job_id]


async def test_dispatch_goes_by_rank_and_takes_no_more_than_its_slots(bench: Bench) -> None:
    bulk, standard, first = [
        await bench.submit(priority=each) for each in ("bulk", "standard", "interactive")
    ]

    async def two() -> list[UUID]:
        found = await bench.do(lambda tx: jobs.dispatch(tx, 2, lease=LEASE, typical_call=NOTHING))
        return [each.job_id for each in found]

    assert set(await two()) == {first, standard}
    assert await two() == [bulk]
    assert await two() == []


async def test_nothing_that_could_not_end_in_time_is_dispatched_or_started(bench: Bench) -> None:
    soon = "now() + interval '30 s'"
    late, ttl = await bench.submit(), await bench.submit()
    await bench.change(late, f"deadline = {soon}")
    await bench.dispatch(late)
    fences = {job_id: (await bench.job(job_id))["fence"] for job_id in (late, ttl)}
    await bench.change(ttl, "queue_expires_at = now()")

    async def start(job_id: UUID) -> Start | None:
        return await bench.do(
            lambda tx: jobs.start(
                tx, bench.presenter, job_id, fences[job_id],
                start_id=uuid4(), worker="w1", key_prefix="k", lease=LEASE, typical_call=LEASE,
            )
        )  # fmt: skip

    assert [await start(late), await start(ttl)] == [None, None]
    assert [(await bench.job(each))["status"] for each in (late, ttl)] == ["released"] * 2
    found = await bench.do(lambda tx: jobs.late(tx, 9, LEASE))
    assert set(found) == {late, ttl}
    for each in found:
        async with bench.database.transaction() as tx:
            assert await jobs.expire(tx, bench.presenter, each, LEASE) is not None
    assert [(await bench.job(each))["held"] for each in (late, ttl)] == [0, 0]
    assert await bench.audit() == []


# Races: each of them many times over, on connections of their own.


async def test_sixteen_workers_with_one_message_start_one_call(bench: Bench) -> None:
    job_id = await bench.submit()
    fence = await bench.dispatch(job_id)

    begun = await asyncio.gather(*(bench.start(job_id, fence, worker=f"w{n}") for n in range(16)))

    assert sum(start is not None for start in begun) == 1
    assert len(await bench.attempts(job_id)) == 1


async def test_dispatchers_that_work_at_once_never_hand_out_a_job_twice(bench: Bench) -> None:
    for _ in range(40):
        await bench.submit()

    async def some() -> list[UUID]:
        found = await bench.do(lambda tx: jobs.dispatch(tx, 7, lease=LEASE, typical_call=NOTHING))
        return [each.job_id for each in found]

    handed = [
        job_id for found in await asyncio.gather(*(some() for _ in range(10))) for job_id in found
    ]

    assert len(handed) == len(set(handed)) == 40


async def test_a_cancel_and_a_start_at_once_leave_one_of_two_clean_ends(bench: Bench) -> None:
    seen = set()
    for _ in range(15):
        job_id = await bench.submit()
        fence = await bench.dispatch(job_id)
        begun, _ = await asyncio.gather(bench.start(job_id, fence), bench.cancel(job_id))
        job, calls = await bench.job(job_id), len(await bench.attempts(job_id))
        seen.add((job["status"], job["cancel_outcome"], calls, begun is not None))

    assert seen <= {("canceled", "prevented", 0, False), ("running", "pending", 1, True)}
    assert await bench.audit() == []


async def test_a_success_and_the_reaper_at_once_end_the_job_once_or_put_it_off(
    bench: Bench,
) -> None:
    for _ in range(15):
        ref = await keeping(bench)
        await bench.change(ref.job_id, "lease_until = now() - interval '1 s'")
        done, _ = await asyncio.gather(bench.succeed(ref), bench.reap(ref.job_id))
        job = await bench.job(ref.job_id)
        assert (job["status"], job["phase"]) == (
            ("succeeded", "keep") if done else ("queued", "keep")
        )
        assert job["charged"] == PRICE
    assert await bench.audit() == []


async def test_a_late_worker_settles_its_own_attempt_and_moves_nothing(bench: Bench) -> None:
    late = await bench.running()
    await bench.reap(late.job_id)
    fresh = await bench.begin(late.job_id, worker="w2")
    before = await bench.job(late.job_id)

    assert await bench.refuse(late) is None

    job, (first, second) = await bench.job(late.job_id), await bench.attempts(late.job_id)
    assert (first["outcome"], first["charge"]) == ("refused", "none")
    assert (second["outcome"], second["charge"]) == (None, "unknown")
    assert (job["status"], job["fence"], job["attempt"]) == ("running", fresh.fence, 2)
    assert (before["held"], job["held"]) == (2 * PRICE, PRICE)
    assert await bench.audit() == []


async def test_nobody_but_its_caller_finishes_a_call(bench: Bench) -> None:
    ref = await bench.running()
    stranger = Ref(ref.job_id, ref.fence, ref.number, uuid4())
    before = await bench.everything_of(ref.job_id)

    for arrow in ("receive", "succeed", "retry_later", "refuse", "lose", "keep_later"):
        assert not await ARROWS[arrow](bench, stranger)

    assert await bench.everything_of(ref.job_id) == before


async def test_a_late_image_is_adopted_while_the_job_waits_for_one(bench: Bench) -> None:
    late = await bench.running()
    await bench.reap(late.job_id)
    stale = await bench.dispatch(late.job_id)

    received = await bench.receive(late)

    assert received is not None
    use, ref = received
    assert (use, ref.fence > stale) == ("keep", True)
    assert await bench.start(late.job_id, stale) is None
    assert await bench.succeed(ref)
    job = await bench.job(late.job_id)
    assert (job["status"], job["held"], job["charged"]) == ("succeeded", 0, PRICE)
    assert await bench.audit() == []


async def test_a_late_image_saves_the_next_call_though_another_had_been_made(bench: Bench) -> None:
    """Attempt 1 was lost, attempt 2 brought nothing, and before attempt 3 the first image comes."""
    late = await bench.running()
    await bench.reap(late.job_id)
    assert await bench.retry_later(await bench.begin(late.job_id), delay=LONG)

    received = await bench.receive(late)

    assert received is not None
    assert received[0] == "keep"
    # Its worker dies in the middle of keeping: whoever takes over finds the first call's image.
    await bench.reap(late.job_id)
    begun = await bench.start(late.job_id, await bench.dispatch(late.job_id), worker="w2")
    assert begun is not None
    assert (begun.phase, begun.ref.number, begun.provider_url) == ("keep", 1, IMAGE.provider_url)
    assert await bench.succeed(begun.ref)
    assert (await bench.job(late.job_id))["charged"] == PRICE
    assert await bench.audit() == []


async def test_an_image_is_a_late_one_while_another_call_is_under_way(bench: Bench) -> None:
    late = await bench.running()
    await bench.reap(late.job_id)
    fresh = await bench.begin(late.job_id, worker="w2")

    received = await bench.receive(late)
    assert received == ("late", late)
    await bench.keep_late(late)
    assert await bench.receive(fresh) == ("keep", fresh)
    assert await bench.succeed(fresh)

    images = await bench.rows("SELECT attempt, spare FROM images ORDER BY attempt")
    assert [(row["attempt"], row["spare"]) for row in images] == [(1, True), (2, False)]
    job = await bench.job(late.job_id)
    assert (job["charged"], job["held"]) == (2 * PRICE, 0)
    assert await bench.audit() == []


async def test_a_late_image_is_not_thrown_away_because_the_log_was_faster(bench: Bench) -> None:
    late = await bench.running()
    await bench.reap(late.job_id)
    await bench.resolve(late.job_id, credits_=PRICE)

    received = await bench.receive(late)

    assert received is not None
    assert received[0] == "keep"
    assert await bench.succeed(received[1])
    job = await bench.job(late.job_id)
    assert (job["status"], job["charged"], job["held"]) == ("succeeded", PRICE, 0)
    assert await bench.audit() == []


async def test_an_image_disproves_a_charge_that_was_believed_to_be_none(bench: Bench) -> None:
    late = await bench.running(on_unknown_charge="fail")
    await bench.reap(late.job_id)
    await bench.resolve(late.job_id)

    assert await bench.receive(late) == ("late", late)

    (attempt,) = await bench.attempts(late.job_id)
    assert (attempt["outcome"], attempt["charge"], attempt["credits"]) == (
        "image",
        "settled",
        PRICE,
    )
    assert await bench.events(late.job_id) == [
        "job.failed", "job.charge_resolved", "job.charge_resolved",
    ]  # fmt: skip
    assert await bench.audit() == []


# The answer to a COMMIT may be lost: whoever must know asks again.


async def test_receiving_twice_is_receiving_once(bench: Bench) -> None:
    ref = await bench.running()
    first = await bench.receive(ref)
    before = await bench.everything_of(ref.job_id)

    assert await bench.receive(ref) == first == ("keep", ref)
    assert await bench.everything_of(ref.job_id) == before


async def test_adopting_twice_is_adopting_once(bench: Bench) -> None:
    late = await bench.running()
    await bench.reap(late.job_id)
    first = await bench.receive(late)
    before = await bench.everything_of(late.job_id)

    assert await bench.receive(late) == first
    assert await bench.everything_of(late.job_id) == before


async def test_a_late_image_is_received_and_kept_again_without_harm(bench: Bench) -> None:
    late = await bench.running(on_unknown_charge="fail")
    await bench.reap(late.job_id)
    for _ in range(2):
        assert await bench.receive(late) == ("late", late)
    for _ in range(2):
        await bench.keep_late(late)

    assert len(await bench.rows("SELECT 1 FROM images")) == 1
    assert (await bench.job(late.job_id))["charged"] == PRICE


async def test_an_image_that_another_worker_keeps_by_now_is_not_received_again(
    bench: Bench,
) -> None:
    ref = await bench.running()
    await bench.receive(ref)
    await bench.reap(ref.job_id)
    begun = await bench.start(ref.job_id, await bench.dispatch(ref.job_id), worker="w2")

    assert begun is not None
    assert await bench.receive(ref) is None
    assert await bench.succeed(ref) is None
    assert await bench.succeed(begun.ref)
    assert await bench.receive(ref) is None


async def test_a_start_whose_commit_was_answered_by_nobody_is_found_by_its_id(
    bench: Bench,
) -> None:
    job_id, mine = await bench.submit(), uuid4()
    fence = await bench.dispatch(job_id)

    async def look(start_id: UUID) -> list[Start]:
        return await bench.do(lambda tx: jobs.started(tx, [(job_id, fence)], start_id))

    assert await look(mine) == []
    begun = await bench.start(job_id, fence, start_id=mine)
    assert begun is not None
    assert await look(mine) == [begun]
    assert await look(uuid4()) == []
    await bench.reap(job_id)
    assert await look(mine) == []


@pytest.mark.parametrize("arrow", ["retry_later", "refuse", "park", "lose", "succeed"])
async def test_what_was_written_down_twice_was_written_once(bench: Bench, arrow: str) -> None:
    ref = await (keeping if arrow == "succeed" else running)(bench)
    assert await ARROWS[arrow](bench, ref)
    before = await bench.everything_of(ref.job_id)

    assert not await ARROWS[arrow](bench, ref)

    after = await bench.everything_of(ref.job_id)
    assert {name: after[name] for name in after if name != "attempts"} == {
        name: before[name] for name in before if name != "attempts"
    }
    assert await bench.audit() == []


# Canceling.


@pytest.mark.parametrize(
    ("state", "answer", "outcome", "status"),
    [
        (running, REFUSED, "prevented", "canceled"),
        (running, FREE, "prevented", "canceled"),
        (running, EMPTY_PAID, "too_late", "canceled"),
        (running, LOST, "unknown", "canceled"),
        (running, IMAGE, "too_late", "canceled"),
        (keeping, None, "too_late", "canceled"),
    ],
)  # fmt: skip
async def test_a_cancel_during_a_call_says_in_the_end_what_it_saved(
    bench: Bench,
    state: Callable[[Bench], Awaitable[Ref]],
    answer: Answer | None,
    outcome: str,
    status: str,
) -> None:
    ref = await state(bench)
    assert (await bench.cancel(ref.job_id)).cancel_outcome == "pending"

    if answer is not None and answer.outcome == "image":
        await bench.receive(ref)
    elif answer is not None:
        lost = answer.charge == "unknown"
        await (bench.lose(ref, answer) if lost else bench.retry_later(ref, answer))
    await bench.succeed(ref)

    job = await bench.job(ref.job_id)
    assert (job["status"], job["cancel_outcome"]) == (status, outcome)
    assert await bench.events(ref.job_id) == ["job.canceled"]
    assert await bench.audit() == []


async def test_no_canceled_job_stays_pending_when_its_image_is_lost(bench: Bench) -> None:
    for end in (bench.keep_later, lambda ref: bench.reap(ref.job_id)):
        ref = await keeping(bench)
        await bench.cancel(ref.job_id)
        await bench.change(ref.job_id, "keep_until = now()")
        assert await end(ref)
        job = await bench.job(ref.job_id)
        assert (job["status"], job["cancel_outcome"]) == ("canceled", "too_late")
    assert await bench.audit() == []
