"""Retention: what is old goes in small batches, and a blob goes when nobody refers to it."""

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from structlog.testing import capture_logs

from models import jobs
from models.images import collector
from models.images.collector import Contested
from models.images.storage import Store
from models.jobs import KeptImage, retention
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.settings import Settings
from models.webhooks import deliveries
from tests.fixtures.making import DAY, KEPT, LOST, NOTHING, Bench
from worker import keep
from worker.dispatcher.duties import retaining
from worker.dispatcher.duty import Dispatcher
from worker.runtime.app import connect
from worker.runtime.context import open_context

PICTURE = b"image"
HASH = KEPT.sha256
assert sha256(PICTURE).hexdigest() == HASH
URL = "https://hooks.example/"
HOUR = timedelta(hours=1)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.storage_url)


@pytest.fixture
async def dispatcher(
    settings: Settings, database: Database, presenter: Presenter
) -> AsyncIterator[Dispatcher]:
    async with Doorbell(settings.redis_url.get_secret_value()) as doorbell:
        yield Dispatcher(settings, "dispatcher-1", database, doorbell, connect(settings), presenter)


async def succeeded(bench: Bench, store: Store, kept: KeptImage = KEPT, **changes: object) -> UUID:
    """Make a job whose image, and whose thumbnail, lie in the store."""
    received = await bench.receive(await bench.running(**changes))
    assert received is not None
    await store.put(str(bench.caller.project_id), PICTURE, "image/jpeg")
    await store.put_thumbnail(str(bench.caller.project_id), HASH, b"small")
    assert await bench.succeed(received[1], kept) is not None
    return received[1].job_id


async def there(bench: Bench, store: Store) -> list[bool]:
    """Return whether the image and its thumbnail are in the store."""
    key = f"{bench.caller.project_id}/{HASH}"
    return [await store.size(each) is not None for each in (key, f"{key}.thumb")]


async def pass_time(bench: Bench, by: timedelta = HOUR) -> None:
    """Let time pass for all that is to be deleted or was."""
    await bench.run(
        "UPDATE remnants SET since = since - :by, doomed_until = doomed_until - :by,"
        " gone_at = gone_at - :by",
        by=by,
    )


async def expire_images(bench: Bench) -> None:
    await bench.run("UPDATE images SET expires_at = now()")


async def erase(bench: Bench, job_id: UUID) -> None:
    await bench.do(lambda tx: jobs.erase(tx, bench.caller.project_id, job_id))


async def test_an_image_goes_when_its_retention_ends_and_its_job_stays(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    job_id = await succeeded(bench, store)
    await retaining.run(dispatcher, store)
    (image,) = await bench.rows("SELECT removed_at FROM images")
    assert image["removed_at"] is None, "its time has not come"
    await expire_images(bench)
    await retaining.run(dispatcher, store)
    (image,) = await bench.rows("SELECT removed_at FROM images")
    assert image["removed_at"] is not None
    assert await there(bench, store) == [True, True], "whoever just saw it may bring it again"
    await pass_time(bench)
    await retaining.run(dispatcher, store)
    assert await there(bench, store) == [False, False]
    assert (await bench.job(job_id))["status"] == "succeeded"


async def test_a_blob_stays_while_any_job_of_the_project_refers_to_it(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    first = await succeeded(bench, store)
    second = await bench.submit(reuse="exact")
    for job_id, left in ((first, True), (second, False)):
        await erase(bench, job_id)
        await pass_time(bench)
        await retaining.run(dispatcher, store)
        assert await there(bench, store) == [left, left]


async def test_a_reference_inside_an_input_goes_with_the_last_job_that_needs_it(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    url = f"data:image/png;sha256={HASH};length=5"
    await store.put(str(bench.caller.project_id), PICTURE, "image/png")
    first = await bench.submit(input={"prompt": "a", "image_urls": [url, url]})
    await bench.cancel(first)
    again, _ = await bench.do(lambda tx: jobs.retry(tx, bench.presenter, bench.caller, first))
    for job_id, left in ((first, True), (again.id, False)):
        await bench.cancel(job_id)
        await erase(bench, job_id)
        await pass_time(bench)
        await retaining.run(dispatcher, store)
        assert (await there(bench, store))[0] is left


async def test_bytes_that_come_again_before_they_are_deleted_are_kept(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    await erase(bench, await succeeded(bench, store))
    await pass_time(bench)
    blob = [(bench.caller.project_id, HASH)]
    assert await bench.do(lambda tx: collector.reserve(tx, blob))
    await retaining.run(dispatcher, store)
    assert await there(bench, store) == [True, True], "it was reserved just now"
    url = f"data:image/png;sha256={HASH};length=5"
    await bench.submit(input={"prompt": "a", "image_urls": [url]})
    assert await bench.rows("SELECT 1 FROM remnants") == []


async def test_bytes_that_come_while_they_are_deleted_have_to_come_again(bench: Bench) -> None:
    blob = [(bench.caller.project_id, HASH)]
    await bench.do(lambda tx: collector.mark(tx, blob))
    await pass_time(bench)
    swept, _ = await bench.do(lambda tx: collector.sweep(tx, 10))
    assert [(each.project_id, each.sha256) for each in swept] == blob
    assert not await bench.do(lambda tx: collector.reserve(tx, blob))
    assert not await bench.do(lambda tx: collector.attach(tx, blob))
    await bench.do(lambda tx: collector.gone(tx, swept))
    assert not await bench.do(lambda tx: collector.attach(tx, blob)), "they were put before"
    assert await bench.do(lambda tx: collector.reserve(tx, blob))
    assert await bench.do(lambda tx: collector.attach(tx, blob))


async def test_a_worker_whose_image_was_deleted_meanwhile_puts_it_again(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    first = await succeeded(bench, store)
    received = await bench.receive(await bench.running())
    assert received is not None
    await erase(bench, first)
    await pass_time(bench)
    await retaining.run(dispatcher, store)
    with pytest.raises(Contested):
        await bench.succeed(received[1])
    blob = [(bench.caller.project_id, HASH)]
    assert await bench.do(lambda tx: collector.reserve(tx, blob))
    await store.put(str(bench.caller.project_id), PICTURE, "image/jpeg")
    assert await bench.succeed(received[1], replace(KEPT, reserved=True)) is not None
    await pass_time(bench)
    await retaining.run(dispatcher, store)
    assert (await there(bench, store))[0]


async def test_a_worker_finds_out_by_itself(bench: Bench, store: Store, settings: Settings) -> None:
    drawn = BytesIO()
    Image.new("RGB", (32, 32), "red").save(drawn, "JPEG")
    digest = sha256(drawn.getvalue()).hexdigest()
    project = bench.caller.project_id
    await bench.run(
        "INSERT INTO remnants (project_id, sha256, gone_at) VALUES (:project, :sha256, now())",
        project=project, sha256=digest,
    )  # fmt: skip
    received = await bench.receive(await bench.running())
    assert received is not None
    async with open_context(settings, "worker-1") as context:
        inline = b64encode(drawn.getvalue()).decode()
        await keep.run(context, received[1], project, None, inline)
    assert (await bench.job(received[1].job_id))["status"] == "succeeded"
    assert await store.verify(f"{project}/{digest}")
    assert await bench.rows("SELECT 1 FROM remnants") == []


async def test_it_is_told_how_long_a_blob_should_be_gone(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    job_id = await succeeded(bench, store)
    assert await bench.do(collector.overdue) == timedelta()
    await erase(bench, job_id)
    assert await bench.do(collector.overdue) == timedelta(), "its time has not come"
    await pass_time(bench)
    assert HOUR - collector.GRACE <= await bench.do(collector.overdue) < 2 * HOUR
    await retaining.run(dispatcher, store)
    assert await bench.do(collector.overdue) == timedelta()


async def test_a_dispatcher_with_another_store_than_the_workers_deletes_nothing_and_is_told_of(
    bench: Bench, store: Store, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    """Its deletions would all succeed, and what customers erased would stay."""
    await succeeded(bench, store)
    other = replace(KEPT, sha256=sha256(b"other").hexdigest())
    await store.put(str(bench.caller.project_id), b"other", "image/jpeg")
    await erase(bench, await succeeded(bench, store, other))
    await pass_time(bench)
    with capture_logs() as logs:
        await retaining.run(dispatcher, Store(str(tmp_path / "other")))
    assert [line["event"] for line in logs] == ["retention.other_store"]
    assert await bench.do(collector.overdue) > timedelta()
    await pass_time(bench)
    await retaining.run(dispatcher, store)
    assert await store.size(f"{bench.caller.project_id}/{other.sha256}") is None
    assert await bench.do(collector.overdue) == timedelta()
    assert await there(bench, store) == [True, True]


async def test_a_blob_whose_deletion_died_halfway_is_deleted_by_the_next(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    await erase(bench, await succeeded(bench, store))
    await pass_time(bench)
    await bench.do(lambda tx: collector.sweep(tx, 10))  # and here it dies
    await retaining.run(dispatcher, store)
    assert await there(bench, store) == [True, True], "somebody seems to be at it"
    await pass_time(bench)
    await retaining.run(dispatcher, store)
    assert await there(bench, store) == [False, False]
    await pass_time(bench, 2 * DAY)
    await retaining.run(dispatcher, store)
    assert await bench.rows("SELECT 1 FROM remnants") == [], "in the end nothing is remembered"


async def test_an_old_job_goes_with_all_that_belongs_to_it_and_its_ledger_stays(
    bench: Bench, store: Store, dispatcher: Dispatcher
) -> None:
    job_id = await succeeded(bench, store, webhook_url=URL)
    await bench.run(
        "UPDATE deliveries SET state = 'delivered', next_at = NULL, finished_at = now()"
    )
    ledger = await bench.ledger(job_id)
    assert await bench.do(lambda tx: retention.remove_jobs(tx, 90 * DAY, 10)) == 0, "it is young"
    assert await bench.do(lambda tx: retention.remove_jobs(tx, NOTHING, 10)) == 1
    left = await bench.everything_of(job_id)
    assert {table for table, rows in left.items() if rows} == {"ledger"}
    assert (await bench.ledger(job_id), await bench.audit()) == (ledger, [])
    await pass_time(bench)
    await retaining.run(dispatcher, store)
    assert await there(bench, store) == [False, False]


async def test_a_job_stays_while_anything_of_it_is_open(bench: Bench) -> None:
    waiting = await bench.submit()
    lost = await bench.running(on_unknown_charge="fail")
    await bench.lose(lost, LOST)
    telling = await bench.submit(webhook_url=URL)
    await bench.cancel(telling)
    assert await bench.do(lambda tx: retention.remove_jobs(tx, NOTHING, 10)) == 0
    await bench.resolve(lost.job_id)
    assert await bench.do(lambda tx: retention.remove_jobs(tx, NOTHING, 10)) == 1
    left = await bench.rows("SELECT id FROM jobs ORDER BY id")
    assert [row["id"] for row in left] == [waiting, telling]


async def test_a_batch_is_as_small_as_asked_and_takes_the_oldest_first(bench: Bench) -> None:
    made = [await bench.submit() for _ in range(3)]
    for job_id in made:
        await bench.cancel(job_id)
    assert await bench.do(lambda tx: retention.remove_jobs(tx, NOTHING, 2)) == 2
    left = await bench.rows("SELECT id FROM jobs")
    assert [row["id"] for row in left] == [made[2]]
    assert await bench.do(lambda tx: retention.remove_jobs(tx, NOTHING, 2)) == 1


async def test_who_deletes_does_not_wait_for_a_row_that_somebody_holds(bench: Bench) -> None:
    held, free = [await bench.submit() for _ in range(2)]
    for job_id in (held, free):
        await bench.cancel(job_id)
    async with bench.database.transaction() as tx:
        await jobs.erase(tx, bench.caller.project_id, held)
        assert await bench.do(lambda tx: retention.remove_jobs(tx, NOTHING, 10)) == 1
    left = await bench.rows("SELECT id FROM jobs")
    assert [row["id"] for row in left] == [held]


async def test_old_deliveries_go_and_those_under_way_or_sent_again_stay(bench: Bench) -> None:
    done, again, pending = [await bench.submit(webhook_url=URL) for _ in range(3)]
    for job_id in (done, again, pending):
        await bench.cancel(job_id)
    await bench.run(
        "UPDATE deliveries SET state = 'delivered', next_at = NULL,"
        " finished_at = now() - interval '1 h' WHERE job_id <> :pending",
        pending=pending,
    )
    (sent,) = await bench.rows("SELECT id FROM deliveries WHERE job_id = :id", id=again)
    await bench.do(lambda tx: deliveries.redeliver(tx, bench.caller.project_id, sent["id"]))
    assert await bench.do(lambda tx: retention.remove_deliveries(tx, 30 * DAY, 10)) == 0
    assert await bench.do(lambda tx: retention.remove_deliveries(tx, NOTHING, 10)) == 1
    left = await bench.rows("SELECT job_id FROM deliveries ORDER BY job_id")
    assert [row["job_id"] for row in left] == [again, pending]
    assert await bench.events(done) == []
    assert (await bench.job(done))["status"] == "canceled"
