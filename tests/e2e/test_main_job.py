"""The main job over HTTP, and every answer of the provider that a job can meet, end to end."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.simulator.pictures import references
from tests.conftest import PLAIN
from tests.e2e import witnesses
from tests.e2e.stage import KEY, MODEL, PRICE, Stage, eventually


@dataclass(frozen=True)
class Told:
    """What a job must come to: its state, each attempt's outcome and charge, and the error's code."""

    status: str
    attempts: tuple[tuple[str, str], ...]
    code: str | None = None


IMAGE = ("image", "settled")
FREE = ("try_later", "none")


def again_after(*attempts: tuple[str, str]) -> Told:
    """A job that gets its image after these attempts."""
    return Told("succeeded", (*attempts, IMAGE))


def refused_as(code: str) -> Told:
    """A job that the provider will never do, and that costs nothing."""
    return Told("failed", (("refused", "none"),), code)


ANSWERS = {
    "429, ok": again_after(FREE),
    "429, 429, 429, 429, 429, 429, ok": again_after(*6 * [FREE]),
    "429_retry_after=1, ok": again_after(FREE),
    "500, ok": again_after(FREE),
    "503, ok": again_after(FREE),
    "500": Told("failed", 5 * (FREE,), "attempts_exhausted"),
    "502_html, ok": again_after(("unknown", "released")),
    "502_charged, ok": again_after(("unknown", "settled")),
    "504_uncharged, ok": again_after(("unknown", "released")),
    "504_charged, ok": again_after(("unknown", "settled")),
    "524_charged, ok": again_after(("unknown", "settled")),
    "504_charged": Told("failed", 2 * (("unknown", "settled"),), "paid_without_image"),
    "item_error, ok": again_after(FREE),
    "moderation_down, ok": again_after(FREE),
    "moderation_400": refused_as("content_refused"),
    "moderation_500": refused_as("content_refused"),
    "404": refused_as("model_unavailable"),
    # The simulator knows no such scenario, and answers 400 as the provider's validation does.
    "no_such_scenario": refused_as("invalid_input"),
    "b64": again_after(),
    "no_meta": again_after(),
    "no_price": again_after(),
    "tokens_used": again_after(),
    "images_list": again_after(),
    "png_with_workflow": again_after(),
    "drip=1": again_after(),
}


@pytest.fixture(scope="module")
def answered(stage: Stage) -> Mapping[str, str]:
    """Submit a job for every answer at once; returns their ids."""
    return {script: stage.submit(script) for script in ANSWERS}


@pytest.fixture(scope="module", autouse=True)
def _books_balance(stage: Stage) -> Iterator[None]:
    yield
    witnesses.check(stage)


def test_a_job_is_accepted_made_kept_charged_and_called_back(stage: Stage) -> None:
    accepted = stage.post("latency=0.5", metadata={"order": "A-17"}, key="the-main-job")
    assert accepted.status_code == 202
    job_id = accepted.json()["id"]
    assert accepted.headers["location"] == f"/v1/jobs/{job_id}"
    assert accepted.json()["status"] == "queued"
    assert accepted.json()["cost"]["held"] == PRICE

    job = stage.finish(job_id)

    assert job.status == "succeeded"
    assert job.outcomes == ["image"]
    assert job.charges == ["settled"]
    assert (job.cost.charged, job.cost.held, job.cost.unknown) == (PRICE, 0, 0)
    assert (job.image.width, job.image.height) == (2048, 2048)
    # The URL is signed: whoever has it needs no key.
    jpeg = httpx.get(job.image.url, verify=PLAIN).content
    assert jpeg.startswith(b"\xff\xd8")
    assert hashlib.sha256(jpeg).hexdigest() == job.image.sha256
    thumbnail = job.image.thumbnail_url
    eventually(lambda: httpx.get(thumbnail, verify=PLAIN).status_code == 200, "a thumbnail")
    eventually(lambda: bool(stage.receiver.of(job_id, "job.succeeded")), "a webhook")
    (event,) = stage.receiver.of(job_id, "job.succeeded")
    assert event.data == job


def test_the_same_idempotency_key_gives_the_same_job_and_no_second_call(stage: Stage) -> None:
    first = stage.post(key="an-order").json()["id"]
    stage.finish(first)
    again = stage.post(key="an-order")
    assert again.json()["id"] == first
    assert again.headers["idempotent-replayed"] == "true"
    assert len(stage.calls(first)) == 1


def test_a_reference_that_came_inline_reaches_the_provider(stage: Stage) -> None:
    picture = f"data:image/png;base64,{b64encode(references.t_rex()).decode()}"
    made = stage.submit(input={"model": MODEL, "prompt": "a red bicycle", "image_urls": [picture]})
    assert stage.finish(made).status == "succeeded"


@pytest.mark.parametrize("script", ANSWERS)
def test_an_answer_of_the_provider_is_read_as_its_table_says(
    stage: Stage, answered: Mapping[str, str], script: str
) -> None:
    expected = ANSWERS[script]
    job = stage.resolved(answered[script])
    assert job.status == expected.status
    assert tuple(zip(job.outcomes, job.charges, strict=True)) == expected.attempts
    paid = [charge for _, charge in expected.attempts].count("settled")
    assert (job.cost.charged, job.cost.held, job.cost.unknown) == (paid * PRICE, 0, 0)
    assert (None if job.error is None else job.error.code) == expected.code
    assert len(stage.calls(job.id)) == len(expected.attempts)


def test_retry_after_is_waited_for(stage: Stage, answered: Mapping[str, str]) -> None:
    first, second = stage.finish(answered["429_retry_after=1, ok"]).attempts
    assert (second.sent_at - first.sent_at).total_seconds() >= 1


def test_a_truncated_image_is_fetched_again_and_not_paid_again(stage: Stage) -> None:
    stage.cdn.halve(1)
    job = stage.finish(stage.submit())
    assert job.status == "succeeded"
    assert len(stage.calls(job.id)) == 1
    assert "image.not_kept" in stage.actor("worker").log.read_text()


def test_a_job_does_not_succeed_before_its_image_is_kept(stage: Stage) -> None:
    (project,) = (stage.folder / "images").iterdir()
    with _unusable(project):
        job_id = stage.submit()
        _wait_for(stage, job_id, "storage")
        assert stage.job(job_id).cost.charged == PRICE
    job = stage.finish(job_id)
    assert job.status == "succeeded"
    assert len(stage.calls(job_id)) == 1


def test_an_image_that_came_inline_is_held_until_the_store_takes_it(stage: Stage) -> None:
    (project,) = (stage.folder / "images").iterdir()
    log = stage.actor("worker").log
    with _unusable(project):
        job_id = stage.submit("b64")
        eventually(lambda: '"image.held"' in log.read_text(), "the store refuses it")
        assert stage.job(job_id).status == "running"
        assert stage.job(job_id).cost.charged == PRICE
    job = stage.finish(job_id)
    assert (job.status, job.outcomes) == ("succeeded", ["image"])
    assert (job.image.width, job.image.height) == (2048, 2048)


def test_an_empty_wallet_parks_jobs_until_it_is_filled(stage: Stage) -> None:
    balance = stage.ledger().balance
    stage.top_up(-balance / 2_000_000)
    parked = [stage.submit() for _ in range(3)]
    for job_id in parked:
        _wait_for(stage, job_id, "wallet_empty")
    eventually(lambda: "gates.checked" in stage.actor("dispatcher").log.read_text(), "a look")
    assert {stage.job(job_id).status for job_id in parked} == {"queued"}

    stage.top_up(balance / 2_000_000)

    jobs = [stage.finish(job_id) for job_id in parked]
    assert {job.status for job in jobs} == {"succeeded"}
    assert {job.cost.charged for job in jobs} == {PRICE}


def test_a_refused_key_parks_jobs_until_it_is_good_again(stage: Stage) -> None:
    with _key_of_provider(stage, "another-key"):
        job_id = stage.submit()
        _wait_for(stage, job_id, "provider_key")
        eventually(
            lambda: "gates.stay_closed" in stage.actor("dispatcher").log.read_text(), "a look"
        )
        assert len(stage.calls(job_id)) == 1
    job = stage.finish(job_id)
    assert job.status == "succeeded"
    assert job.outcomes == ["parked", "image"]
    assert job.charges == ["none", "settled"]


@contextmanager
def _unusable(folder: Path) -> Iterator[None]:
    """Put a file where a folder was: not even root can write below it."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


@contextmanager
def _key_of_provider(stage: Stage, key: str) -> Iterator[None]:
    """Let the provider know another key than ours, by starting it anew with its books."""
    for accepted in (key, KEY):
        stage.actor("simulator").kill()
        stage.start("simulator", environment={"AIMLAPI_KEY": accepted})
        if accepted == key:
            yield


def _wait_for(stage: Stage, job_id: str, reason: str) -> None:
    def waits() -> bool:
        job = stage.job(job_id)
        return (job.status, job.waiting_reason) == ("queued", reason)

    eventually(waits, f"{job_id} waits for {reason}")
