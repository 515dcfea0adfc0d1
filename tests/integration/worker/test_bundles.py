"""Bundles: what one message carries begins in one statement, and then each goes its own way."""

import asyncio
import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import redis
from celery import Celery
from sqlalchemy import select
from structlog.testing import capture_logs

from models import ids
from models.coordination import workers
from models.coordination.workers import Fleet
from models.platform.vault import Vault
from models.schema import Delivery, Job
from models.settings import Settings
from models.webhooks import deliveries
from models.webhooks.deliveries import Tried
from models.webhooks.endpoints import Wish
from tests.fixtures import sending
from tests.fixtures.making import LEASE, Bench
from tests.fixtures.posting import mailbox
from tests.fixtures.spending import House
from worker import deliver, generate
from worker.dispatcher.publishing import Patience, hand_out
from worker.runtime import heart
from worker.runtime.app import app, bundle
from worker.runtime.flight import Flight

SEEN = timedelta(seconds=20)


async def dispatched(house: House, count: int) -> list[tuple[UUID, int]]:
    """Submit and release jobs; returns each with its fence."""
    things = []
    for _ in range(count):
        made = await house.submit()
        things.append((made, await house.bench.dispatch(made)))
    return things


def calls(house: House, *jobs_: UUID) -> list[int]:
    """Count the paid calls of each job, as the simulator saw them."""
    made = house.provider.world.calls.all
    seen = [(each.client_request_id or "").partition(":")[0] for each in made]
    return [seen.count(ids.text(ids.JOB, each)) for each in jobs_]


# What begins.


async def test_a_bundle_begins_together_and_what_comes_again_begins_nothing(house: House) -> None:
    things = await dispatched(house, 5)
    await generate.start(house.context, things)
    assert house.context.flight.counts == {"generate": 5, "deliver": 0}
    with capture_logs() as logs:
        await generate.start(house.context, things)  # as after a death before the acknowledgement
        await house.context.flight.landed()
    assert [each["event"] for each in logs].count("job.not_started") == 5
    assert calls(house, *(job_id for job_id, _ in things)) == [1] * 5
    started = await house.bench.rows("SELECT DISTINCT start_id, sent_at FROM attempts")
    assert len(started) == 1, "it was one statement"
    found = await house.bench.rows("SELECT status FROM jobs")
    assert [each["status"] for each in found] == ["succeeded"] * 5


async def test_of_a_bundle_that_was_begun_in_part_the_rest_begins(house: House) -> None:
    things = await dispatched(house, 6)
    await generate.start(house.context, things[:2])
    await house.context.flight.landed()
    await generate.start(house.context, things)
    await house.context.flight.landed()
    assert calls(house, *(job_id for job_id, _ in things)) == [1] * 6


async def test_what_somebody_else_has_locked_holds_up_none_of_the_others(house: House) -> None:
    things = await dispatched(house, 4)
    locked, _ = things[1]
    async with house.bench.database.transaction() as tx:
        await tx.execute(select(Job.id).where(Job.id == locked).with_for_update())
        await generate.start(house.context, things)
        async with asyncio.timeout(20):
            while house.context.flight.counts["generate"] > 1:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert len(await _succeeded(house)) == 3
    await house.context.flight.landed()
    assert calls(house, *(job_id for job_id, _ in things)) == [1] * 4


async def _succeeded(house: House) -> list[object]:
    return list(await house.bench.rows("SELECT FROM jobs WHERE status = 'succeeded'"))


async def test_one_that_cannot_be_written_stops_none_of_the_others(house: House) -> None:
    things = await dispatched(house, 3)
    broken, _ = things[0]
    name = f"{ids.text(ids.JOB, broken)}:1"
    other = await house.submit()
    await house.bench.run(
        "INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix,"
        " hold) VALUES (:id, :job, 9, :id, 'w', :name, 'k', 0)",
        id=uuid4(), job=other, name=name,
    )  # fmt: skip
    with capture_logs() as logs:
        await generate.start(house.context, things)
        await house.context.flight.landed()
    said = [each["event"] for each in logs]
    assert "bundle.failed" in said
    assert "work.failed" in said
    assert calls(house, *(job_id for job_id, _ in things)) == [0, 1, 1]
    await house.bench.run("DELETE FROM attempts WHERE number = 9")


async def test_a_worker_that_drains_hands_all_of_a_bundle_back(house: House) -> None:
    things = await dispatched(house, 3)
    house.context.draining = True
    await generate.start(house.context, things)
    rows = await house.bench.rows("SELECT status FROM jobs")
    assert [each["status"] for each in rows] == ["queued"] * 3
    assert house.context.flight.counts["generate"] == 0
    house.context.draining = False


async def test_a_call_whose_job_was_taken_away_keeps_its_place(house: House) -> None:
    made, context = await house.submit("latency=1"), house.context
    await generate.start(context, [(made, await house.bench.dispatch(made))])
    await asyncio.sleep(0)  # it begins
    assert await house.bench.reap(made) == 1
    async with asyncio.timeout(10):
        while not context.strays:
            await heart.beat(context)
    await heart.beat(context)
    (row,) = await house.bench.rows("SELECT generate_slots FROM workers WHERE id = 'worker-1'")
    assert row["generate_slots"] == context.settings.generate_slots - 1
    await context.flight.landed()
    assert context.strays == set()


async def test_deliveries_of_a_bundle_are_taken_and_recorded_each_once(house: House) -> None:
    bench = house.bench
    async with mailbox() as box:
        await sending.registered(bench, house.context.vault, Wish(box.url))
        for _ in range(7):
            await sending.finished(bench)
        woken = await sending.wake(bench)
        await deliver.start(house.context, woken)
        await deliver.start(house.context, woken)
        await house.context.flight.landed()
        assert len(box.letters) == 7
    assert await sending.states(bench) == [("delivered", 1)] * 7
    tries = await bench.rows("SELECT number, http_status FROM delivery_tries")
    assert [(each["number"], each["http_status"]) for each in tries] == [(1, 204)] * 7


async def test_what_is_recorded_together_is_recorded_each_by_its_own_guard(
    house: House, vault: Vault
) -> None:
    bench, direct = house.bench, house.bench.database.direct
    await sending.endpoint(bench, vault)
    for _ in range(4):
        await sending.finished(bench)
    woken = list(await sending.wake(bench))
    assert len(await deliveries.take_plain(direct, vault, woken, LEASE)) == 4
    at = datetime.now(UTC)
    (first, _), (late, number) = woken[0], woken[2]
    lines = [Tried(*each, at, sending.DELIVERED) for each in woken]
    lines[2] = replace(lines[2], number=number + 1)
    async with bench.database.transaction() as tx:
        await tx.execute(select(Delivery.id).where(Delivery.id == first).with_for_update())
        assert (await deliveries.record_plain(direct, sending.PATIENCE, lines)).done == [
            False,
            True,
            False,
            True,
        ]
    assert (await deliveries.record_plain(direct, sending.PATIENCE, lines)).done == [
        True,
        False,
        False,
        False,
    ]
    (row,) = await bench.rows("SELECT state, tries FROM deliveries WHERE id = :id", id=late)
    assert (row["state"], row["tries"]) == ("sending", 1)


# What is handed out.


@pytest.mark.parametrize(
    ("fleet", "things", "share"),
    [
        (Fleet(1, 64, 1_000), 200, 64),
        (Fleet(4, 64, 1_000), 200, 50),
        (Fleet(4, 64, 1_000), 3, 16),  # few are not split
        (Fleet(4, 64, 40), 20, 10),  # unless so many have no place with one worker
        (Fleet(4, 64, 3), 3, 1),
        (Fleet(3, 64, 4), 4, 2),
        (Fleet(2, 8, 1_000), 100, 8),  # the smaller one has no more places
        (Fleet(2, 1, 1_000), 100, 1),  # an older one understands no bundle
        (Fleet(0, 1, 0), 5, 1),
        (Fleet(2, 64, -5), 1, 1),  # more is in flight than there are places: one has left
    ],
)
def test_a_message_carries_the_share_of_one_worker(fleet: Fleet, things: int, share: int) -> None:
    assert fleet.share(things, first=True) == share


@pytest.mark.parametrize(("things", "share"), [(3, 1), (5, 2), (200, 50), (400, 64)])
def test_what_comes_again_is_shared_equally(things: int, share: int) -> None:
    assert Fleet(4, 64, 1_000).share(things, first=False) == share


async def test_the_share_follows_from_what_the_workers_say(bench: Bench) -> None:
    async def say(name: str, slots: int, **more: int) -> None:
        await bench.do(
            lambda tx: workers.report(
                tx, name, generate_slots=slots, deliver_slots=8, draining=False, **more
            )
        )

    async def fleets() -> tuple[Fleet, Fleet]:
        capacity = await bench.do(lambda tx: workers.capacity(tx, seen=SEEN))
        _, of_deliveries = await bench.do(lambda tx: deliveries.capacity(tx, seen=SEEN))
        return capacity.fleet, of_deliveries

    assert await fleets() == (Fleet(0, 1, 0), Fleet(0, 1, 0))
    await say("w1", 100)
    await say("w2", 32)
    assert await fleets() == (Fleet(2, 32, 132), Fleet(2, 8, 16))
    await bench.run(  # as a worker of the version before says it
        "INSERT INTO workers (id, generate_slots, deliver_slots) VALUES ('old', 64, 64)"
    )
    assert await fleets() == (Fleet(3, 1, 196), Fleet(3, 1, 80))


@pytest.mark.parametrize(
    ("fleet", "first", "sizes"),
    [
        (Fleet(2, 1, 9), 1, [1, 1, 1, 1]),
        (Fleet(1, 3, 9), 1, [3, 1]),
        (Fleet(2, 64, 99), 1, [4]),
        (Fleet(2, 64, 99), 2, [2, 2]),
    ],
)
async def test_what_is_handed_out_is_read_as_it_was_meant(
    redis_server: str, fleet: Fleet, first: int, sizes: list[int]
) -> None:
    url = f"{redis_server.rpartition('/')[0]}/6"
    celery = Celery("bundles", broker=url)
    celery.conf.update(task_queues=app.conf.task_queues, task_routes=app.conf.task_routes)
    things = [(uuid4(), number) for number in (first, 1, 1, 1)]
    sent = await hand_out(celery, Patience(), "generate", things, fleet)
    assert sent == 4
    with redis.Redis.from_url(url) as client:
        written = client.lpop("generate", 9)
    assert isinstance(written, list)
    bodies = [b64decode(json.loads(each)["body"]) for each in reversed(written)]
    messages = [json.loads(each)[0] for each in bodies]
    assert [len(bundle(arguments)) for arguments in messages] == sizes
    assert [each for arguments in messages for each in bundle(arguments)] == things
    if fleet.bundle == 1:
        assert messages == [[str(id_), n] for id_, n in things]


def test_the_same_thing_twice_in_a_message_is_one() -> None:
    job = uuid4()
    assert bundle([[[str(job), 1], [str(job), 2], [str(job), 1]]]) == [(job, 1), (job, 2)]


# What a worker has in flight.


async def test_a_worker_takes_of_a_queue_while_it_has_a_place(settings: Settings) -> None:
    flight = Flight(settings.model_copy(update={"generate_slots": 2, "deliver_slots": 1}))
    end = asyncio.Event()

    async def work() -> None:
        await end.wait()

    assert flight.takes("generate")
    for _ in range(3):
        flight.begin("generate", work())
    assert [flight.takes(each) for each in ("generate", "deliver")] == [False, True]
    end.set()
    await flight.landed()
    assert flight.takes("generate")


# New deliveries, without the dispatcher.


async def test_the_end_of_a_job_is_told_without_the_dispatcher(
    house: House, rings: list[tuple[str, str]]
) -> None:
    async with mailbox() as box:
        await sending.registered(house.bench, house.context.vault, Wish(box.url))
        things = await dispatched(house, 4)  # half of what a destination may have under way
        rings.clear()
        await generate.start(house.context, things)
        await house.context.flight.landed()
        assert len(box.letters) == 4
    assert await sending.states(house.bench) == [("delivered", 1)] * 4


async def test_a_worker_that_drains_leaves_new_deliveries_to_the_dispatcher(
    house: House, rings: list[tuple[str, str]]
) -> None:
    await sending.registered(house.bench, house.context.vault, Wish(sending.URL))
    things = await dispatched(house, 1)
    await generate.start(house.context, things)
    house.context.draining = True
    await house.context.flight.landed()
    assert await sending.states(house.bench) == [("pending", 0)]
    assert ("deliveries", "") in rings


async def test_a_job_succeeds_whatever_becomes_of_its_first_try_to_tell(house: House) -> None:
    await sending.registered(house.bench, house.context.vault, Wish(sending.URL))
    things = await dispatched(house, 1)
    await house.bench.run(
        "ALTER TABLE deliveries ADD CONSTRAINT broken CHECK (state <> 'sending') NOT VALID"
    )
    try:
        with capture_logs() as logs:
            await generate.start(house.context, things)
            await house.context.flight.landed()
    finally:
        await house.bench.run("ALTER TABLE deliveries DROP CONSTRAINT broken")
    assert "bundle.failed" in [each["event"] for each in logs]
    assert len(await _succeeded(house)) == 1
    assert await sending.states(house.bench) == [("pending", 0)]


async def test_places_go_on_until_nothing_is_due(
    house: House, rings: list[tuple[str, str]]
) -> None:
    bench, settings = house.bench, house.context.settings
    async with mailbox() as box:
        await sending.registered(bench, house.context.vault, Wish(box.url))
        for _ in range(20):
            await sending.finished(bench)
        woken = await sending.wake(bench, cap=settings.webhook_in_flight)
        assert len(woken) == settings.webhook_in_flight == 8
        await deliver.start(house.context, woken)
        rings.clear()
        await house.context.flight.landed()
        assert len(box.letters) == 20
    assert await sending.states(bench) == [("delivered", 1)] * 20
    assert ("deliveries", "") in rings, "of the last places the dispatcher hears"


async def test_a_draining_worker_passes_no_place_on(
    house: House, rings: list[tuple[str, str]]
) -> None:
    bench = house.bench
    async with mailbox() as box:
        await sending.registered(bench, house.context.vault, Wish(box.url))
        for _ in range(3):
            await sending.finished(bench)
        house.context.draining = True
        await deliver.start(house.context, await sending.wake(bench, 1))
        await house.context.flight.landed()
        assert len(box.letters) == 1
    assert sorted(await sending.states(bench)) == [("delivered", 1), ("pending", 0), ("pending", 0)]
    assert ("deliveries", "") in rings
