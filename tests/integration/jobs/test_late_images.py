"""Late images: a paid image that came too late for its own attempt saves the next call."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from deploy.local import ports
from deploy.simulator import Running
from models import jobs
from models.accounts.callers import Caller
from models.images import records
from models.jobs import retention
from models.jobs.attempts import Answer, Ref
from models.jobs.view import Presenter
from models.money import budgets
from models.money.budgets import Rule
from models.platform.db import Database
from models.platform.vault import Vault
from tests.fixtures import sending
from tests.fixtures.making import (
    DAY,
    EMPTY_PAID,
    FREE,
    IMAGE,
    KEPT,
    LEASE,
    LOST,
    NOTHING,
    PRICE,
    Bench,
)
from tests.fixtures.spending import House
from tests.integration.api.client import cost
from worker import generate, keep
from worker.provider import outcomes

CHEAPER = PRICE - 9
EARLY = Answer("image", "settled", CHEAPER, 200, "inf-early", "https://cdn.example/early.jpg")
KEPT_EARLY = replace(
    KEPT, sha256=sha256(b"early").hexdigest(), provider_url="https://cdn.example/early.jpg"
)
RESULT = (EARLY.provider_url, KEPT_EARLY.sha256)
# Its bytes came in the answer: only its own worker has them.
INLINE = replace(EARLY, provider_url=None)
SECOND, THIRD = 2, 3


@pytest.fixture(
    params=[True, pytest.param(False, marks=pytest.mark.long)], ids=["plain", "general"]
)
def bench(
    database: Database, presenter: Presenter, caller: Caller, request: pytest.FixtureRequest
) -> Bench:
    return Bench(database, presenter, caller, plain=request.param)


async def overtaken(bench: Bench, early: Answer = EARLY, **changes: object) -> tuple[Ref, Ref]:
    """Make a job whose second call is under way when the first one's image comes: booked, not yet kept."""
    late = await bench.running(**{"max_cost": 9 * PRICE} | changes)
    await bench.reap(late.job_id)
    if changes.get("on_unknown_charge") == "wait":
        await bench.resolve(late.job_id)  # free, as far as the log knows: now it goes on
    fresh = await bench.begin(late.job_id, worker="w2")
    assert await bench.receive(late, early) == ("late", late)
    return late, fresh


async def with_late_image(bench: Bench, **changes: object) -> Ref:
    """Make a job whose second call is under way while the first one's image is kept."""
    late, fresh = await overtaken(bench, EARLY, **changes)
    assert await bench.keep_late(late, KEPT_EARLY) is None
    return fresh


async def given(bench: Bench, job_id: UUID) -> list[tuple[int, bool]]:
    """Return attempt of each image of a job, and whether it is a late image."""
    found = await bench.rows(
        "SELECT attempt, spare FROM images WHERE job_id = :id ORDER BY attempt", id=job_id
    )
    return [(row["attempt"], row["spare"]) for row in found]


async def ended(bench: Bench, job_id: UUID) -> tuple[str, int, int]:
    """Return a job's status, held and charged; nothing of it may be left to run, and the books agree."""
    assert await bench.audit() == []
    due = "run_after = CASE WHEN status = 'queued' THEN now() ELSE run_after END"
    job = await bench.job(job_id)
    await bench.change(job_id, due)
    released = await bench.do(lambda tx: jobs.dispatch(tx, 99, lease=LEASE, typical_call=NOTHING))
    assert [each for each in released if each.job_id == job_id] == []
    return job["status"], job["held"], job["charged"]


# The ways in which the attempt that has overtaken it ends without an image.

Way = Callable[[Bench, Ref], Awaitable[object]]
WAYS: dict[str, tuple[Way, Answer]] = {
    "retry_later": (lambda b, r: b.retry_later(r, delay=LEASE), FREE),
    "retry_later, charged": (lambda b, r: b.retry_later(r, EMPTY_PAID), EMPTY_PAID),
    "refuse": (lambda b, r: b.refuse(r), FREE),
    "park": (lambda b, r: b.park(r), FREE),
    "lose": (lambda b, r: b.lose(r), LOST),
    "reap": (lambda b, r: b.reap(r.job_id), LOST),
}


@pytest.mark.parametrize("policy", ["retry", "wait"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_job_that_has_a_late_image_ends_with_it_and_pays_no_other_call(
    bench: Bench, vault: Vault, way: str, policy: str
) -> None:
    await sending.endpoint(bench, vault, "job.succeeded")
    own = "https://hooks.example/own"
    fresh = await with_late_image(bench, webhook_url=own, on_unknown_charge=policy)
    end, answer = WAYS[way]

    assert await end(bench, fresh)

    held = PRICE if answer.charge == "unknown" else 0
    charged = answer.credits or 0
    assert await ended(bench, fresh.job_id) == ("succeeded", held, CHEAPER + charged)
    assert await given(bench, fresh.job_id) == [(1, False)]
    assert len(await bench.attempts(fresh.job_id)) == SECOND
    assert sum(credits_ for _, _, credits_ in await bench.ledger(fresh.job_id)) == (
        held + CHEAPER + charged
    )
    resolved = ["job.charge_resolved"] * (2 if policy == "wait" else 1)
    assert await bench.events(fresh.job_id) == [*resolved, "job.succeeded"]
    deliveries = await bench.rows(
        "SELECT events.body FROM deliveries JOIN events ON events.id = event_id "
        "WHERE type = 'job.succeeded'"
    )
    assert len(deliveries) == 2, "the endpoint, and the job's own URL"
    data = json.loads(deliveries[0]["body"])["data"]
    assert (data["status"], data["result"]["data"][0]["sha256"]) == ("succeeded", KEPT_EARLY.sha256)


async def test_a_late_image_takes_the_place_of_a_later_image_that_is_lost(bench: Bench) -> None:
    fresh = await with_late_image(bench)
    received = await bench.receive(fresh)
    assert received is not None
    await bench.change(fresh.job_id, "keep_until = now()")
    assert await bench.keep_later(received[1]) is not None
    assert await ended(bench, fresh.job_id) == ("succeeded", 0, CHEAPER + PRICE)
    assert await given(bench, fresh.job_id) == [(1, False)]
    assert (await bench.events(fresh.job_id))[-1] == "job.succeeded"


async def test_a_later_image_ends_a_job_that_still_fetches_an_adopted_one(bench: Bench) -> None:
    late = await bench.running(max_cost=9 * PRICE)
    await bench.reap(late.job_id)
    fresh = await bench.begin(late.job_id, worker="w2")
    await bench.lose(fresh)  # both are lost, and the job waits
    adopted = await bench.receive(late, EARLY)
    assert adopted is not None
    assert (await bench.job(late.job_id))["attempt"] == 1
    assert await bench.receive(fresh) == ("late", fresh)
    assert await bench.keep_late(fresh) is not None
    assert await bench.keep_later(adopted[1]) is None
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER + PRICE)
    assert await given(bench, late.job_id) == [(2, False)]


async def test_what_is_shown_is_of_the_attempt_whose_image_it_is(bench: Bench) -> None:
    fresh = await with_late_image(bench)
    await bench.retry_later(fresh, EMPTY_PAID)
    read = await bench.do(lambda tx: jobs.read(tx, bench.caller.project_id, fresh.job_id))
    looked = await jobs.read(bench.database.direct, bench.caller.project_id, fresh.job_id)
    for snapshot in (read, looked):
        shown = snapshot.show(bench.presenter)
        assert shown["cost"] == cost(estimated=PRICE, charged=CHEAPER + PRICE)
        result = shown["result"]
        assert isinstance(result, dict)
        assert result["meta"] == {"usage": {"credits_used": CHEAPER}}
        (one,) = result["data"]
        assert (one["provider_url"], one["sha256"]) == RESULT
        assert (shown["error"], shown["waiting_reason"]) == (None, None)


@pytest.mark.parametrize("limit", ["attempts_exhausted", "max_cost_reached", "budget"])
async def test_the_late_image_comes_before_every_limit(bench: Bench, limit: str) -> None:
    limits: dict[str, dict[str, object]] = {
        "attempts_exhausted": {"max_attempts": 2},
        "max_cost_reached": {"max_cost": 2 * PRICE},
        "budget": {},
    }
    changes = limits[limit]
    room = 2 * PRICE if limit == "budget" else 99 * PRICE
    await _budget(bench, room)
    late, fresh = await overtaken(bench, INLINE, **changes)
    await bench.retry_later(fresh, EMPTY_PAID)
    job = await bench.job(late.job_id)
    assert limit in {(job["error"] or {}).get("code"), job["waiting_reason"]}, "without a spare"

    await _budget(bench, room + CHEAPER + PRICE)
    fresh = await with_late_image(bench, **changes)
    await bench.retry_later(fresh, EMPTY_PAID)
    assert await ended(bench, fresh.job_id) == ("succeeded", 0, CHEAPER + PRICE)


async def _budget(bench: Bench, room: int) -> None:
    rule = Rule("project", "total", "UTC", room, "hard")
    await bench.do(lambda tx: budgets.put(tx, bench.caller.project_id, rule))


async def test_no_late_image_saves_a_job_whose_cancel_was_requested(bench: Bench) -> None:
    for end, answer in WAYS.values():
        fresh = await with_late_image(bench)
        await bench.cancel(fresh.job_id)
        assert await end(bench, fresh)
        job = await bench.job(fresh.job_id)
        outcome = "unknown" if answer is LOST else "too_late"
        assert (job["status"], job["cancel_outcome"]) == ("canceled", outcome)
        assert await given(bench, fresh.job_id) == [(1, True)]
    assert await bench.audit() == []


async def test_the_earliest_of_two_late_images_is_the_result(bench: Bench) -> None:
    first = await bench.running()
    await bench.reap(first.job_id)
    # Lost in another way, so that the second death makes it no job that kills its workers.
    await bench.run("""UPDATE attempts SET error = error || '{"code": "edge_error"}'""")
    second = await bench.begin(first.job_id)
    await bench.reap(first.job_id)
    for number in (1, SECOND):
        await bench.resolve(first.job_id, number)
    third = await bench.begin(first.job_id)
    assert await bench.receive(second) == ("late", second)
    assert await bench.keep_late(second) is None
    assert await bench.receive(first, EARLY) == ("late", first)
    assert await bench.keep_late(first, KEPT_EARLY) is None

    await bench.refuse(third)

    assert await given(bench, first.job_id) == [(1, False), (SECOND, True)]
    assert await ended(bench, first.job_id) == ("succeeded", 0, CHEAPER + PRICE)


@pytest.mark.parametrize("column", ["removed_at", "expires_at"])
async def test_a_late_image_whose_retention_has_ended_is_nobodys_result(
    bench: Bench, column: str
) -> None:
    fresh = await with_late_image(bench)
    await bench.run(f"UPDATE images SET {column} = now()")  # noqa: S608 - one of two names
    await bench.refuse(fresh)
    assert (await bench.job(fresh.job_id))["status"] == "failed"


async def test_after_one_attempt_no_image_is_asked_for(bench: Bench) -> None:
    """A row that cannot be there is not looked for."""
    ref = await bench.running()
    await bench.run(
        """INSERT INTO images (job_id, attempt, spare, sha256, bytes, width, height, content_type,
                               expires_at)
           VALUES (:id, 9, true, 'x', 1, 1, 1, 'image/png', now() + interval '1 day')""",
        id=ref.job_id,
    )
    await bench.refuse(ref)
    assert (await bench.job(ref.job_id))["status"] == "failed"


# The job waits again by the time that bytes are kept which nobody else could fetch.


async def backoff(bench: Bench, fresh: Ref) -> None:
    await bench.retry_later(fresh, delay=LEASE)


async def parked(bench: Bench, fresh: Ref) -> None:
    await bench.park(fresh)


async def unknown_charge(bench: Bench, fresh: Ref) -> None:
    await bench.lose(fresh)


async def budget(bench: Bench, fresh: Ref) -> None:
    await _budget(bench, CHEAPER + 1)
    await bench.retry_later(fresh)


async def released(bench: Bench, fresh: Ref) -> None:
    await bench.retry_later(fresh)
    await bench.run("DELETE FROM gates")
    await bench.dispatch(fresh.job_id)


WAITS = (backoff, parked, unknown_charge, budget, released)


@pytest.mark.long
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
async def test_a_job_that_waits_again_succeeds_with_its_late_image_there_and_then(
    bench: Bench, wait: Callable[[Bench, Ref], Awaitable[None]]
) -> None:
    late, fresh = await overtaken(bench, INLINE, on_unknown_charge="wait")
    await wait(bench, fresh)
    before = await bench.job(late.job_id)
    assert before["status"] == ("released" if wait is released else "queued")
    why = "queue" if wait in {parked, released} else wait.__name__
    assert before["waiting_reason"] == why

    job = await bench.keep_late(late, KEPT_EARLY)

    assert job is not None
    held = PRICE if wait is unknown_charge else 0
    assert await ended(bench, late.job_id) == ("succeeded", held, CHEAPER)
    assert await given(bench, late.job_id) == [(1, False)]
    assert (await bench.events(late.job_id))[-1] == "job.succeeded"
    assert await bench.start(late.job_id, before["fence"]) is None, "whoever was to start it"
    assert len(await bench.attempts(late.job_id)) == SECOND


async def test_a_late_image_waits_for_a_third_attempt_that_has_begun(bench: Bench) -> None:
    late, fresh = await overtaken(bench, INLINE)
    await bench.retry_later(fresh)
    third = await bench.begin(late.job_id)
    assert await bench.keep_late(late, KEPT_EARLY) is None
    assert (await bench.job(late.job_id))["status"] == "running"
    assert await given(bench, late.job_id) == [(1, True)]
    await bench.refuse(third)
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER)


async def test_a_late_image_stays_one_while_a_later_image_is_kept_and_after_the_end(
    bench: Bench,
) -> None:
    late, fresh = await overtaken(bench)
    await bench.receive(fresh)
    assert await bench.keep_later(fresh)
    assert await bench.keep_late(late, KEPT_EARLY) is None
    job = await bench.job(late.job_id)
    assert (job["status"], job["phase"]) == ("queued", "keep")

    late, fresh = await overtaken(bench, INLINE)
    await bench.refuse(fresh)
    assert await bench.keep_late(late, KEPT_EARLY) is None
    assert (await bench.job(late.job_id))["status"] == "failed"
    assert await given(bench, late.job_id) == [(1, True)]
    assert await bench.audit() == []


async def test_saying_twice_that_a_late_image_is_kept_ends_the_job_once(bench: Bench) -> None:
    late, fresh = await overtaken(bench)
    await bench.retry_later(fresh)
    assert await bench.keep_late(late, KEPT_EARLY) is not None
    before = await bench.everything_of(late.job_id)
    assert await bench.keep_late(late, KEPT_EARLY) is None
    assert await bench.everything_of(late.job_id) == before


async def test_an_image_that_comes_after_the_job_had_its_late_image_is_a_late_one_too(
    bench: Bench,
) -> None:
    fresh = await with_late_image(bench)
    await bench.lose(fresh)
    assert await bench.receive(fresh) == ("late", fresh)
    assert await bench.keep_late(fresh) is None
    assert await given(bench, fresh.job_id) == [(1, False), (SECOND, True)]
    assert await ended(bench, fresh.job_id) == ("succeeded", 0, CHEAPER + PRICE)


# The late image is not kept yet, and lies at a URL: it is fetched before another call is paid.


async def fetched(bench: Bench, job_id: UUID, waiting: str = "image_download") -> Ref:
    """Demand that a job waits to fetch its first image, and begin that."""
    job = await bench.job(job_id)
    assert (job["status"], job["phase"], job["attempt"]) == ("queued", "keep", 1)
    assert (job["waiting_reason"], job["run_after"] is None) == (waiting, False)
    assert await bench.audit() == []
    begun = await bench.start(job_id, await bench.dispatch(job_id))
    assert begun is not None
    assert (begun.phase, begun.provider_url) == ("keep", EARLY.provider_url)
    return begun.ref


@pytest.mark.parametrize("way", WAYS)
async def test_a_late_image_that_nobody_has_kept_is_fetched_and_no_other_call_is_paid(
    bench: Bench, way: str
) -> None:
    end, answer = WAYS[way]
    late, fresh = await overtaken(bench)
    assert await end(bench, fresh)
    keeper = await fetched(bench, late.job_id)
    assert await bench.succeed(keeper, KEPT_EARLY) is not None
    held = PRICE if answer.charge == "unknown" else 0
    charged = CHEAPER + (answer.credits or 0)
    assert await ended(bench, late.job_id) == ("succeeded", held, charged)
    assert await given(bench, late.job_id) == [(1, False)]
    assert len(await bench.attempts(late.job_id)) == SECOND
    assert await bench.keep_late(late, KEPT_EARLY) is None, "who had received it comes too late"
    assert await given(bench, late.job_id) == [(1, False)]


@pytest.mark.parametrize("state", ["queued", "released", "running"])
async def test_who_has_received_it_may_keep_it_first(bench: Bench, state: str) -> None:
    late, fresh = await overtaken(bench)
    await bench.refuse(fresh)
    keeper = await fetched(bench, late.job_id) if state == "running" else None
    fence = await bench.dispatch(late.job_id) if state == "released" else 0
    assert (await bench.job(late.job_id))["status"] == state
    job = await bench.keep_late(late, KEPT_EARLY)
    assert job is not None
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER)
    assert await given(bench, late.job_id) == [(1, False)]
    if keeper is not None:
        assert await bench.succeed(keeper, KEPT_EARLY) is None
    assert await bench.start(late.job_id, fence) is None
    assert (await bench.events(late.job_id)).count("job.succeeded") == 1


@pytest.mark.parametrize("first", ["keep_late", "succeed"])
async def test_a_cancel_meanwhile_comes_too_late_and_the_image_is_shown(
    bench: Bench, first: str
) -> None:
    late, fresh = await overtaken(bench)
    await bench.refuse(fresh)
    assert (await bench.cancel(late.job_id)).cancel_outcome == "pending"
    keeper = await fetched(bench, late.job_id)
    keep_ = bench.keep_late(late, KEPT_EARLY) if first == "keep_late" else None
    job = await (keep_ or bench.succeed(keeper, KEPT_EARLY))
    assert job is not None
    assert (job.status, job.cancel_outcome) == ("canceled", "too_late")
    assert await given(bench, late.job_id) == [(1, False)]


async def test_a_late_image_whose_url_is_dead_is_not_waited_for(bench: Bench) -> None:
    late, fresh = await overtaken(bench)
    await bench.change(late.job_id, "keep_until = now()")
    await bench.retry_later(fresh)
    third = await bench.begin(late.job_id)
    assert third.number == THIRD
    assert await bench.receive(third) == ("keep", third)


async def test_a_late_image_that_cannot_be_fetched_until_its_url_is_dead_is_lost(
    bench: Bench,
) -> None:
    late, fresh = await overtaken(bench)
    await bench.retry_later(fresh)
    keeper = await fetched(bench, late.job_id)
    assert await bench.keep_later(keeper) is not None
    keeper = await fetched(bench, late.job_id, waiting="storage")
    await bench.change(late.job_id, "keep_until = now()")
    assert await bench.keep_later(keeper) is not None
    job = await bench.job(late.job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "image_lost")
    assert await ended(bench, late.job_id) == ("failed", 0, CHEAPER)


@pytest.mark.parametrize("state", ["queued", "released"])
async def test_a_later_image_is_adopted_while_an_earlier_one_is_yet_to_be_fetched(
    bench: Bench, state: str
) -> None:
    late, fresh = await overtaken(bench)
    await bench.reap(late.job_id)  # the second worker is slow, and taken for dead
    if state == "released":
        await bench.change(late.job_id, "run_after = now()")
        await bench.dispatch(late.job_id)
    adopted = await bench.receive(fresh)
    assert adopted is not None
    assert adopted[0] == "keep"
    assert await bench.succeed(adopted[1]) is not None
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER + PRICE)
    assert await given(bench, late.job_id) == [(SECOND, False)]
    assert await bench.keep_late(late, KEPT_EARLY) is None
    assert await given(bench, late.job_id) == [(1, True), (SECOND, False)]


async def test_a_later_image_that_is_kept_first_ends_the_job(bench: Bench) -> None:
    late, fresh = await overtaken(bench)
    await bench.reap(late.job_id)
    keeper = await fetched(bench, late.job_id)
    assert await bench.receive(fresh) == ("late", fresh)
    assert await bench.keep_late(fresh) is not None
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER + PRICE)
    assert await given(bench, late.job_id) == [(SECOND, False)]
    assert await bench.succeed(keeper, KEPT_EARLY) is None


async def test_when_an_inline_image_is_lost_an_earlier_one_is_fetched(bench: Bench) -> None:
    late, fresh = await overtaken(bench)
    inline = replace(IMAGE, provider_url=None)
    assert await bench.receive(fresh, inline) == ("keep", fresh)
    lost = await bench.do(
        lambda tx: jobs.keep_later(
            tx, bench.presenter, fresh, ttl=DAY, message="its worker died", patience=NOTHING
        )
    )
    assert lost is not None
    keeper = await fetched(bench, late.job_id)
    assert await bench.succeed(keeper, KEPT_EARLY) is not None
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER + PRICE)


@pytest.mark.long
async def test_of_all_who_keep_one_late_image_at_once_one_ends_the_job(bench: Bench) -> None:
    for _ in range(10):
        late, fresh = await overtaken(bench)
        await bench.refuse(fresh)
        keeper = await fetched(bench, late.job_id)
        both = await asyncio.gather(
            bench.succeed(keeper, KEPT_EARLY), bench.keep_late(late, KEPT_EARLY)
        )
        assert sum(each is not None for each in both) == 1
        assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER)
        assert await given(bench, late.job_id) == [(1, False)]


# What hangs on the job: followers, erasure, retention, the thumbnail.


@pytest.mark.parametrize("waits", [False, True], ids=["under way", "waits"])
async def test_followers_have_the_late_image_too(bench: Bench, *, waits: bool) -> None:
    late, fresh = await overtaken(bench, reuse="exact")
    followers = [await bench.submit(reuse="exact") for _ in range(2)]
    if waits:
        await bench.retry_later(fresh)
        await bench.keep_late(late, KEPT_EARLY)
    else:
        await bench.keep_late(late, KEPT_EARLY)
        await bench.refuse(fresh)
    assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER)
    await bench.follow_up()
    for follower in followers:
        assert await ended(bench, follower) == ("succeeded", 0, 0)
        assert await bench.events(follower) == ["job.succeeded"]
        (image,) = await bench.rows("SELECT sha256 FROM images WHERE job_id = :id", id=follower)
        assert image["sha256"] == KEPT_EARLY.sha256


async def test_an_erased_job_gets_no_image(bench: Bench) -> None:
    late, fresh = await overtaken(bench, INLINE)
    await bench.retry_later(fresh)
    await bench.cancel(late.job_id)
    await bench.do(lambda tx: jobs.erase(tx, bench.caller.project_id, late.job_id))
    assert await bench.keep_late(late, KEPT_EARLY) is None
    assert (await bench.job(late.job_id))["status"] == "canceled"
    assert await given(bench, late.job_id) == []


async def test_its_image_is_erased_and_removed_like_any_result(bench: Bench) -> None:
    first, second = await with_late_image(bench), await with_late_image(bench)
    for fresh in (first, second):
        await bench.refuse(fresh)
    await bench.run("UPDATE images SET expires_at = now() WHERE job_id = :id", id=first.job_id)
    assert await bench.do(lambda tx: retention.expire_images(tx, 9)) == 1
    await bench.run("DELETE FROM remnants")
    await bench.do(lambda tx: jobs.erase(tx, bench.caller.project_id, second.job_id))
    (left,) = await bench.rows("SELECT sha256 FROM remnants")
    assert left["sha256"] == KEPT_EARLY.sha256
    assert await given(bench, second.job_id) == []


async def test_its_thumbnail_is_drawn_like_one_that_was_lost(bench: Bench) -> None:
    fresh = await with_late_image(bench)
    await bench.run("UPDATE images SET kept_at = kept_at - interval '2 min'")
    assert await bench.do(lambda tx: records.without_thumbnail(tx, 9)) == []
    await bench.refuse(fresh)
    assert await bench.do(lambda tx: records.without_thumbnail(tx, 9)) == [
        (fresh.job_id, bench.caller.project_id, KEPT_EARLY.sha256)
    ]
    await records.thumbnail_is(bench.database.direct, fresh.job_id, "made")
    assert await bench.do(lambda tx: records.without_thumbnail(tx, 9)) == []


async def really_overtaken(house: House) -> tuple[Ref, Ref, outcomes.Image]:
    """Make the first call of a job for real; its image comes while a second one is under way."""
    bench = house.bench
    late = await bench.begin(await house.submit("ok, 500", on_unknown_charge="retry"))
    answered = await house.context.provider.generate(
        (await bench.job(late.job_id))["input"],
        client_request_id=(await bench.attempts(late.job_id))[0]["client_request_id"],
        timeout=timedelta(seconds=10),
    )
    assert isinstance(answered, outcomes.Image)
    await bench.reap(late.job_id)
    fresh = await bench.begin(late.job_id)
    reference = answered.receipt.inference_id
    seen = Answer("image", "settled", PRICE, 200, reference, answered.url)
    assert await bench.receive(late, seen) == ("late", late)
    return late, fresh, answered


async def test_an_image_that_its_own_worker_cannot_fetch_is_fetched_by_another(
    house: House, caller: Caller, provider: Running
) -> None:
    late, fresh, _ = await really_overtaken(house)
    nowhere = f"http://127.0.0.1:{ports.pick()}/image.jpg"
    await keep.run(house.context, late, caller.project_id, nowhere, late_image=True)
    assert await given(house.bench, late.job_id) == []
    await house.bench.refuse(fresh)

    fence = await house.bench.dispatch(late.job_id)
    await generate.start(house.context, [(late.job_id, fence)])
    await house.context.flight.landed()

    assert await ended(house.bench, late.job_id) == ("succeeded", 0, PRICE)
    assert await given(house.bench, late.job_id) == [(1, False)]
    assert len(provider.world.calls.all) == 1, "the second was never made"


async def test_bytes_that_are_no_image_are_passed_by(house: House, caller: Caller) -> None:
    late, fresh, _ = await really_overtaken(house)
    text = b64encode(b"no image").decode()
    await keep.run(house.context, late, caller.project_id, None, text, late_image=True)
    await house.bench.retry_later(fresh)
    job = await house.bench.job(late.job_id)
    assert (job["phase"], job["waiting_reason"]) == ("call", "queue")


async def test_the_worker_that_ends_a_job_with_its_late_image_draws_its_thumbnail(
    house: House, caller: Caller, provider: Running
) -> None:
    late, fresh, answered = await really_overtaken(house)
    await house.bench.retry_later(fresh)
    stale = await house.bench.dispatch(late.job_id)

    project = caller.project_id
    await keep.run(house.context, late, project, answered.url, answered.b64, late_image=True)
    await generate.start(house.context, [(late.job_id, stale)])
    await house.context.flight.landed()
    await house.context.thumbnails.drawn()

    assert await ended(house.bench, late.job_id) == ("succeeded", 0, PRICE)
    (image,) = await house.bench.rows("SELECT spare, thumbnail FROM images")
    assert (image["spare"], image["thumbnail"]) == (False, "made")
    assert len(provider.world.calls.all) == 1, "the others were never made"


# Races.


Order = Callable[[Bench, Ref, Ref, Way], Awaitable[None]]


async def _keep_first(bench: Bench, late: Ref, fresh: Ref, end: Way) -> None:
    await bench.keep_late(late, KEPT_EARLY)
    await end(bench, fresh)


async def _end_first(bench: Bench, late: Ref, fresh: Ref, end: Way) -> None:
    await end(bench, fresh)
    await bench.keep_late(late, KEPT_EARLY)


async def _at_once(bench: Bench, late: Ref, fresh: Ref, end: Way) -> None:
    await asyncio.gather(bench.keep_late(late, KEPT_EARLY), end(bench, fresh))


# How a refused job may end when nobody else could fetch its late image: a refusal is final, and a late
# image that comes after it stays one.
ORDERS: dict[Order, set[str]] = {
    _keep_first: {"succeeded"},
    _end_first: {"failed"},
    _at_once: {"succeeded", "failed"},
}


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__.lstrip("_"))
@pytest.mark.parametrize("way", ["retry_later", "refuse", "park", "lose"])
@pytest.mark.parametrize("early", [EARLY, INLINE], ids=["url", "inline"])
async def test_whichever_comes_first_no_third_call_begins(
    bench: Bench, order: Order, way: str, early: Answer
) -> None:
    end, answer = WAYS[way]
    for _ in range(3 if order is _at_once else 1):
        late, fresh = await overtaken(bench, early)
        await order(bench, late, fresh, end)
        status, held, charged = await ended(bench, late.job_id)
        final = way == "refuse" and early is INLINE
        assert status in (ORDERS[order] if final else {"succeeded"})
        assert await given(bench, late.job_id) == [(1, status == "failed")]
        assert (held, charged) == (PRICE if answer is LOST else 0, CHEAPER)
        assert len(await bench.attempts(late.job_id)) == SECOND


async def test_a_start_and_a_late_image_at_once_leave_one_of_two_clean_ends(bench: Bench) -> None:
    for _ in range(5):
        late, fresh = await overtaken(bench, INLINE)
        await bench.retry_later(fresh)
        fence = await bench.dispatch(late.job_id)
        begun, job = await asyncio.gather(
            bench.start(late.job_id, fence), bench.keep_late(late, KEPT_EARLY)
        )
        assert (begun is None) == (job is not None)
        if begun is not None:
            await bench.refuse(begun.ref)
        assert await ended(bench, late.job_id) == ("succeeded", 0, CHEAPER)
        calls = SECOND if begun is None else THIRD
        assert len(await bench.attempts(late.job_id)) == calls
