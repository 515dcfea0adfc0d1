"""An image whose bytes came inline: it can be fetched from nowhere, so a worker holds it while it can."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from structlog.testing import capture_logs

from models.attempts import Ref
from models.db import Database
from models.projects import Caller
from models.settings import Settings
from models.views import Lens
from tests.making import IMAGE, PRICE, Bench
from worker import generate, keep
from worker.context import open_context


@pytest.fixture
def bench(database: Database, lens: Lens, caller: Caller) -> Bench:
    return Bench(database, lens, caller)


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
    """Give a job's status, the code of its error, and what it was charged."""
    job = await bench.job(job_id)
    return job["status"], job["error"] and job["error"]["code"], job["charged"]


async def test_it_is_held_until_the_store_takes_it(bench: Bench, settings: Settings) -> None:
    ref = await paid(bench)
    project = bench.caller.project_id
    async with open_context(settings, "worker-1") as context:
        with capture_logs() as said:
            with refusing(settings, project):
                keeping = asyncio.create_task(keep.run(context, ref, project, None, jpeg()))
                async with asyncio.timeout(20):
                    while sum(each["event"] == "image.held" for each in said) < 2:  # noqa: ASYNC110 - the log is the event
                        await asyncio.sleep(0.01)
                assert (await bench.job(ref.job_id))["status"] == "running"
            await keeping
    assert await outcome(bench, ref.job_id) == ("succeeded", None, PRICE)


async def test_it_is_held_no_longer_than_a_url_would_live(bench: Bench, settings: Settings) -> None:
    ref = await paid(bench)
    brief = settings.model_copy(update={"keep_ttl": settings.keep_ttl * 0})
    async with open_context(brief, "worker-1") as context:
        with refusing(settings, bench.caller.project_id):
            await keep.run(context, ref, bench.caller.project_id, None, jpeg())
    assert (await bench.job(ref.job_id))["status"] == "queued"


async def test_one_that_was_lost_with_its_worker_is_told_at_once(
    bench: Bench, settings: Settings
) -> None:
    ref = await paid(bench)
    await bench.reap(ref.job_id)
    fence = await bench.release(ref.job_id)
    async with open_context(settings, "worker-2") as context:
        await generate.run(context, ref.job_id, fence)
    assert await outcome(bench, ref.job_id) == ("failed", "image_lost", PRICE)
    message = (await bench.job(ref.job_id))["error"]["message"]
    assert message.endswith("inline, and were lost with the worker that had them")
    assert await bench.audit() == []


@pytest.mark.parametrize("bytes_", ["", "AAAA", "not base 64", jpeg()[:40]])
async def test_bytes_that_are_no_image_are_held_by_nobody(
    bench: Bench, settings: Settings, bytes_: str
) -> None:
    ref = await paid(bench)
    async with open_context(settings, "worker-1") as context:
        with capture_logs() as said:
            await keep.run(context, ref, bench.caller.project_id, None, bytes_)
        assert [each["event"] for each in said] == ["image.not_kept"]
        await generate.run(context, ref.job_id, await bench.release(ref.job_id))
    assert await outcome(bench, ref.job_id) == ("failed", "image_lost", PRICE)


async def test_one_with_a_url_is_put_off_as_ever(bench: Bench, settings: Settings) -> None:
    received = await bench.receive(await bench.running(), IMAGE)
    assert received is not None
    async with open_context(settings, "worker-1") as context:
        await keep.run(context, received[1], bench.caller.project_id, "http://127.0.0.1:1/x.jpg")
    assert (await bench.job(received[1].job_id))["waiting_reason"] == "storage"
