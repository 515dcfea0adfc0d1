"""What a paid image waits for: the provider's download is theirs, the store is ours."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from models.jobs import explain
from tests.fixtures.spending import PRICE, House


async def again(house: House, job_id: UUID, *, after: timedelta) -> None:
    """Try once more, so long after the image was received."""
    left = house.settings.keep_ttl - after
    await house.bench.run(
        "UPDATE jobs SET run_after = now(), keep_until = now() + :left WHERE id = :id",
        left=left, id=job_id,
    )  # fmt: skip
    await house.work()


async def waiting(house: House, job_id: UUID) -> str:
    """Return what a job waits for; `explain` says the same, in words too."""
    said = await house.bench.do(
        lambda tx: explain(tx, house.settings, house.bench.caller.project_id, job_id)
    )
    reason = (await house.bench.job(job_id))["waiting_reason"]
    assert said["waiting_reason"] == reason
    return f"{reason}: {said['message']}"


@pytest.mark.parametrize("script", ["image_gone", "cut_image", "truncated_image", "not_an_image"])
async def test_a_download_that_fails_is_theirs(house: House, script: str) -> None:
    (job_id,) = await house.spend(script)
    assert (await waiting(house, job_id)).startswith(
        "image_download: Its image is paid, and is fetched from the provider's URL at "
    )
    assert (await house.bench.job(job_id))["charged"] == PRICE


async def test_a_store_that_refuses_is_ours(house: House) -> None:
    folder = Path(house.settings.storage_url) / str(house.bench.caller.project_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()  # stands where a folder is to be made
    (job_id,) = await house.spend("ok")
    assert (await waiting(house, job_id)).startswith("storage: Its image is paid, and our store ")
    folder.unlink()
    await again(house, job_id, after=timedelta(seconds=1))
    assert (await house.bench.job(job_id))["status"] == "succeeded"


async def test_an_image_that_is_not_there_may_yet_come_for_some_minutes(house: House) -> None:
    (job_id,) = await house.spend("image_gone")
    soon = house.settings.image_missing - timedelta(seconds=20)
    for after in (timedelta(seconds=2), timedelta(seconds=20), soon):
        await again(house, job_id, after=after)
        assert (await house.bench.job(job_id))["status"] == "queued"

    await again(house, job_id, after=house.settings.image_missing)

    job = await house.bench.job(job_id)
    assert (job["status"], job["error"]["code"], job["charged"]) == ("failed", "image_lost", PRICE)
    assert "the provider's image URL answered 404" in job["error"]["message"]
    assert len(house.provider.world.calls.all) == 1


async def test_what_a_host_says_for_good_ends_the_job_within_minutes(house: House) -> None:
    scripts = {
        "image_403": "the provider's image URL answered 403",
        "not_an_image": "starts with b'<html>",
    }
    jobs = dict(zip(await house.spend(*scripts), scripts.values(), strict=True))
    for job_id in jobs:
        await again(house, job_id, after=house.settings.image_refused - timedelta(seconds=20))
        assert (await house.bench.job(job_id))["status"] == "queued"
        await again(house, job_id, after=house.settings.image_refused)

    for job_id, reason in jobs.items():
        job = await house.bench.job(job_id)
        assert (job["status"], job["error"]["code"]) == ("failed", "image_lost")
        assert reason in job["error"]["message"]
        assert (job["error"]["retryable"], job["charged"]) == (True, PRICE)
    assert len(house.provider.world.calls.all) == len(scripts)


async def test_other_trouble_with_a_download_is_tried_while_its_url_lives(house: House) -> None:
    (job_id,) = await house.spend("cut_image")
    await again(house, job_id, after=house.settings.keep_ttl - timedelta(minutes=1))
    assert (await house.bench.job(job_id))["status"] == "queued"
    await again(house, job_id, after=house.settings.keep_ttl)
    job = await house.bench.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "image_lost")
