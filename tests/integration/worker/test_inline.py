"""An image whose bytes came inline: it can be fetched from nowhere, so a worker holds it while it can."""

import asyncio
from asyncio import Task
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from structlog.testing import capture_logs

from models.jobs.attempts import Ref
from models.settings import Settings
from tests.fixtures.drawing import ODD, draw, png_claiming
from tests.fixtures.making import IMAGE, PRICE, Bench
from worker import generate, keep
from worker.runtime import heart
from worker.runtime.context import Context, open_context


def jpeg() -> str:
    drawn = BytesIO()
    Image.new("RGB", (32, 32), "red").save(drawn, "JPEG")
    return b64encode(drawn.getvalue()).decode()


async def paid(bench: Bench) -> Ref:
    """Make a job whose image is paid; its bytes are in the worker's hands alone."""
    received = await bench.receive(await bench.running())
    assert received is not None
    await bench.run("UPDATE attempts SET provider_url = NULL")
    return received[1]


@contextmanager
def refusing(settings: Settings, project: UUID) -> Iterator[None]:
    """Let the store refuse what is put: a file stands where a folder is to be made."""
    folder = Path(settings.storage_url) / str(project)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    yield
    folder.unlink()


async def outcome(bench: Bench, job_id: UUID) -> tuple[str, str | None, int]:
    """Return a job's status, the code of its error, and what it was charged."""
    job = await bench.job(job_id)
    return job["status"], job["error"] and job["error"]["code"], job["charged"]


@contextmanager
def keeping(context: Context, ref: Ref, project: UUID, inline: str) -> Iterator[Task[None]]:
    """Let a worker that has a job keep its image."""
    context.running.add(ref)
    yield asyncio.create_task(keep.run(context, ref, project, None, inline))
    context.running.discard(ref)


async def said_of(said: Sequence[Mapping[str, object]], what: str, times: int = 1) -> None:
    """Wait until this was said so often."""
    async with asyncio.timeout(20):
        while sum(each["event"] == what for each in said) < times:  # noqa: ASYNC110 - the log is the event
            await asyncio.sleep(0.01)


async def test_it_is_held_until_the_store_takes_it(bench: Bench, settings: Settings) -> None:
    ref, project = await paid(bench), bench.caller.project_id
    async with open_context(settings, "worker-1") as context:
        with capture_logs() as said, keeping(context, ref, project, jpeg()) as held:
            with refusing(settings, project):
                await said_of(said, "image.held", 2)
                assert (await bench.job(ref.job_id))["status"] == "running"
            await held
    assert await outcome(bench, ref.job_id) == ("succeeded", None, PRICE)


async def test_it_is_held_while_the_same_bytes_are_being_deleted(
    bench: Bench, settings: Settings
) -> None:
    ref, project = await paid(bench), bench.caller.project_id
    digest = sha256(b64decode(jpeg())).hexdigest()
    await bench.run(
        "INSERT INTO remnants (project_id, sha256, doomed_until)"
        " VALUES (:project, :sha256, now() + interval '2 minutes')",
        project=project, sha256=digest,
    )  # fmt: skip
    async with open_context(settings, "worker-1") as context:
        with capture_logs() as said, keeping(context, ref, project, jpeg()) as held:
            await said_of(said, "image.held")
            await bench.run("DELETE FROM remnants")
            await held
    assert await outcome(bench, ref.job_id) == ("succeeded", None, PRICE)


async def test_it_is_held_no_longer_than_a_url_would_live(bench: Bench, settings: Settings) -> None:
    ref, project = await paid(bench), bench.caller.project_id
    brief = settings.model_copy(update={"keep_ttl": settings.keep_ttl * 0})
    async with open_context(brief, "worker-1") as context:
        with refusing(settings, project), keeping(context, ref, project, jpeg()) as held:
            await held
    assert await outcome(bench, ref.job_id) == ("failed", "image_lost", PRICE)
    assert "paid for, but could not be kept: " in (await bench.job(ref.job_id))["error"]["message"]


async def test_it_is_held_no_longer_than_its_job_is_ours(bench: Bench, settings: Settings) -> None:
    ref, project = await paid(bench), bench.caller.project_id
    async with open_context(settings, "worker-1") as context:
        with (
            refusing(settings, project),
            capture_logs() as said,
            keeping(context, ref, project, jpeg()) as held,
        ):
            await said_of(said, "image.held")
            await bench.reap(ref.job_id)
            await heart.beat(context)
            assert ref not in context.running
            await asyncio.wait_for(held, 20)
            await heart.beat(context)
    assert [each["event"] for each in said].count("lease.lost") == 1
    assert (await bench.job(ref.job_id))["status"] == "queued"


async def test_one_that_was_lost_with_its_worker_is_told_at_once(
    bench: Bench, settings: Settings
) -> None:
    ref = await paid(bench)
    await bench.reap(ref.job_id)
    fence = await bench.dispatch(ref.job_id)
    async with open_context(settings, "worker-2") as context:
        await generate.start(context, [(ref.job_id, fence)])
        await context.flight.landed()
    assert await outcome(bench, ref.job_id) == ("failed", "image_lost", PRICE)
    message = (await bench.job(ref.job_id))["error"]["message"]
    assert message.endswith("inline, and were lost with the worker that had them")
    assert await bench.audit() == []


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        ("", "no bytes at all"),
        ("AAAA", "starts with"),
        ("no base 64!!", "not base 64"),
        (jpeg()[:400], "has no end"),
    ],
)
async def test_bytes_that_are_no_image_are_held_by_nobody(
    bench: Bench, settings: Settings, bytes_: str, why: str
) -> None:
    ref, project = await paid(bench), bench.caller.project_id
    async with open_context(settings, "worker-1") as context:
        with capture_logs() as said, keeping(context, ref, project, bytes_) as held:
            await held
    assert [each["event"] for each in said] == ["image.not_kept"]
    assert await outcome(bench, ref.job_id) == ("failed", "image_lost", PRICE)
    assert why in (await bench.job(ref.job_id))["error"]["message"]


async def test_one_with_a_url_is_put_off_as_ever(bench: Bench, settings: Settings) -> None:
    received = await bench.receive(await bench.running(), IMAGE)
    assert received is not None
    async with open_context(settings, "worker-1") as context:
        await keep.run(context, received[1], bench.caller.project_id, "http://127.0.0.1:1/x.jpg")
    assert (await bench.job(received[1].job_id))["waiting_reason"] == "image_download"


@pytest.mark.parametrize(
    "name",
    [
        "png: a profile that inflates to 3 MiB",
        "png: an iTXt that inflates to 3 MiB",
        "png: a tEXt with a wrong checksum",
        "jpeg: several pictures",
        "jpeg: a JFIF segment cut short",
        "jpeg: junk between segments",
        "gif: bytes behind the end",
        "webp: an Exif of nonsense",
    ],
)
async def test_a_paid_picture_is_kept_whatever_its_metadata_is(
    bench: Bench, settings: Settings, name: str
) -> None:
    ref, project, data = await paid(bench), bench.caller.project_id, ODD[name]()
    async with open_context(settings, "worker-1") as context:
        with keeping(context, ref, project, b64encode(data).decode()) as held:
            await held
        assert await context.store.read(f"{project}/{sha256(data).hexdigest()}") == data
    assert await outcome(bench, ref.job_id) == ("succeeded", None, PRICE)


@pytest.mark.parametrize("name", ["png: an end that is missing", "gif: an end that is missing"])
async def test_a_paid_picture_is_kept_though_its_end_is_missing(
    bench: Bench, settings: Settings, name: str
) -> None:
    kind, missing = {"png": ("png", 12), "gif": ("gif", 1)}[name[:3]]
    ref, project, data = await paid(bench), bench.caller.project_id, draw(kind)[:-missing]
    async with open_context(settings, "worker-1") as context:
        with keeping(context, ref, project, b64encode(data).decode()) as held:
            await held
    assert await outcome(bench, ref.job_id) == ("succeeded", None, PRICE)


async def test_a_paid_picture_that_is_too_large_to_draw_is_kept_without_a_thumbnail(
    bench: Bench, settings: Settings
) -> None:
    ref, project, data = await paid(bench), bench.caller.project_id, png_claiming(7_000, 7_000)
    async with open_context(settings, "worker-1") as context:
        with keeping(context, ref, project, b64encode(data).decode()) as held:
            await held
        await context.thumbnails.drawn()
    assert await outcome(bench, ref.job_id) == ("succeeded", None, PRICE)
    (image,) = await bench.rows("SELECT thumbnail FROM images WHERE job_id = :id", id=ref.job_id)
    assert image["thumbnail"] == "impossible"
