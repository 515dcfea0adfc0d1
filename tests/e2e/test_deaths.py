"""Processes that die or freeze, at the worst moments: every job ends, and nothing is paid twice."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

import httpx
import pytest
from celery import Celery

from models.coordination.workers import BUNDLE, Fleet
from tests.e2e import witnesses
from tests.e2e.stage import CALL, LEASE, PRICE, Stage, eventually
from worker.dispatcher.publishing import Patience, hand_out

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`


@pytest.fixture
def stage(mortal: Stage) -> Iterator[Stage]:
    """One living process of each role; afterwards the books must balance."""
    mortal.fill()
    yield mortal
    mortal.fill()
    witnesses.check(mortal)


def test_a_worker_killed_in_the_middle_of_a_call(stage: Stage) -> None:
    job_id = stage.submit(f"latency={CALL - 0.5}, ok")
    eventually(lambda: len(stage.calls(job_id)) == 1, "the call is under way")
    stage.holder(job_id).kill()
    successor = stage.begin("worker")

    eventually(lambda: stage.job(job_id).outcomes[:1] == ["unknown"], "the call is given up")
    lost = stage.job(job_id)
    assert lost.attempts[0].charge.state == "unknown"
    assert lost.cost.unknown == PRICE

    stage.until_ready(successor)
    job = stage.resolved(job_id)
    assert job.status == "succeeded"
    assert job.outcomes == ["unknown", "image"]
    assert job.charges == ["settled", "settled"]
    assert job.cost.charged == 2 * PRICE


def test_a_job_whose_worker_dies_twice_is_given_no_third(stage: Stage) -> None:
    slow = f"latency={CALL - 0.5}"
    job_id = stage.submit(f"{slow}, {slow}, ok")
    for number in (1, 2):
        eventually(partial(_called, stage, job_id, number), "the call is under way")
        stage.holder(job_id).kill()
        stage.fill()

    job = stage.resolved(job_id)

    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("worker_lost", False)
    assert job.charges == ["settled", "settled"], "the provider's log knows"
    assert job.cost.charged == 2 * PRICE
    assert len(stage.calls(job_id)) == 2
    assert stage.finish(stage.submit()).status == "succeeded"


def _called(stage: Stage, job_id: str, number: int) -> bool:
    return len(stage.calls(job_id)) == number


def test_a_worker_killed_in_the_middle_of_a_bundle_whose_message_comes_again(stage: Stage) -> None:
    made = [stage.submit("ok" if n % 2 else f"latency={CALL - 0.5}, ok") for n in range(12)]
    eventually(lambda: all(stage.calls(job_id) for job_id in made), "every call is under way")
    bundle = [
        (UUID(str(id_)), int(str(fence))) for id_, fence in stage.rows("SELECT id, fence FROM jobs")
    ]
    stage.actor("worker").kill()
    for _ in range(2):  # what was not acknowledged comes again, to whoever is there
        sent = hand_out(
            Celery(broker=stage.redis_url), Patience(), "generate", bundle, Fleet(1, BUNDLE, BUNDLE)
        )
        assert asyncio.run(sent) == len(bundle)
    stage.fill()
    jobs = [stage.resolved(job_id) for job_id in made]
    assert {job.status for job in jobs} == {"succeeded"}
    assert {tuple(job.outcomes) for job in jobs[::2]} == {("unknown", "image")}
    assert [len(stage.calls(job.id)) for job in jobs] == [len(job.outcomes) for job in jobs]


def test_a_worker_killed_between_the_answer_and_the_kept_image(stage: Stage) -> None:
    with stage.cdn.shut():
        job_id = stage.submit()
        eventually(lambda: stage.cdn.knocks == 1, "the image is asked for")
        assert stage.job(job_id).cost.charged == PRICE
        stage.holder(job_id).kill()
    stage.fill()

    job = stage.finish(job_id)

    assert job.status == "succeeded"
    assert job.outcomes == ["image"]
    assert len(stage.calls(job_id)) == 1


def test_a_worker_killed_while_it_delivers_a_webhook(stage: Stage) -> None:
    with stage.receiver.shut():
        job_id = stage.submit()
        eventually(lambda: stage.receiver.knocks == 1, "the webhook is on its way")
        stage.actor("worker").kill()
        stage.fill()
    eventually(lambda: len(stage.receiver.of(job_id, "job.succeeded")) == 2, "it is sent again")
    ids = {each.id for each in stage.receiver.received if each.event.data.id == job_id}
    assert len(ids) == 1, "the same event has the same id on every try"


@pytest.mark.long
def test_a_worker_frozen_for_three_leases_moves_nothing_and_settles_its_attempt(
    stage: Stage,
) -> None:
    stage.start("worker")
    job_id = stage.submit(f"latency=1, latency={CALL - 0.5}")
    eventually(lambda: len(stage.calls(job_id)) == 1, "the call is under way")
    stale, frozen_at = stage.holder(job_id), time.monotonic()
    stale.freeze()
    with stage.late_log():
        eventually(lambda: len(stage.calls(job_id)) == 2, "another worker tries again")
        eventually(lambda: time.monotonic() - frozen_at > 3 * LEASE, "three leases are over")
        before = stage.job(job_id)

        stale.thaw()

        eventually(lambda: stage.job(job_id).outcomes[0] == "image", "its late answer is kept")
        after = stage.job(job_id)
    assert (before.status, after.status) == ("running", "running")
    assert (before.charges, after.charges) == (["unknown", "unknown"], ["settled", "unknown"])
    job = stage.finish(job_id)
    assert job.status == "succeeded"
    assert job.outcomes == ["image", "image"]
    assert job.cost.charged == 2 * PRICE
    eventually(
        lambda: _late_images(stage, job_id) == 1, "the image that was overtaken is kept as well"
    )


@pytest.mark.long
def test_a_late_image_saves_the_job_whose_later_call_brings_none(stage: Stage) -> None:
    stage.start("worker")
    job_id = stage.submit(f"latency=1, latency={CALL - 0.5}+500, ok")
    eventually(lambda: len(stage.calls(job_id)) == 1, "the call is under way")
    stale = stage.holder(job_id)
    stale.freeze()
    with stage.late_log():
        eventually(lambda: len(stage.calls(job_id)) == 2, "another worker tries again")
        stale.thaw()
        eventually(lambda: _late_images(stage, job_id) == 1, "its late image is kept")
        assert stage.job(job_id).status == "running"
        job = stage.finish(job_id)
    assert job.status == "succeeded"
    assert job.outcomes == ["image", "try_later"]
    assert job.charges == ["settled", "none"]
    assert (job.cost.charged, job.cost.held) == (PRICE, 0)
    assert len(stage.calls(job_id)) == 2
    assert _late_images(stage, job_id) == 0


def test_a_late_image_is_adopted_by_a_job_that_still_waits(stage: Stage) -> None:
    job_id = stage.submit("latency=1, 500")
    eventually(lambda: len(stage.calls(job_id)) == 1, "the call is under way")
    stale, dispatcher = stage.holder(job_id), stage.actor("dispatcher")
    with stage.late_log():
        stale.freeze()
        eventually(lambda: stage.job(job_id).outcomes == ["unknown"], "the call is given up")
        dispatcher.freeze()  # so that nobody dispatches the job before the late image comes
        stale.thaw()
        job = stage.finish(job_id)
        dispatcher.thaw()
    assert job.status == "succeeded"
    assert job.outcomes == ["image"]
    assert job.cost.charged == PRICE


@pytest.mark.long
def test_two_dispatchers_at_once_dispatch_every_job_once(stage: Stage) -> None:
    stage.start("dispatcher")
    made = [stage.submit("latency=0.2") for _ in range(40)]
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}
    assert [len(stage.calls(job_id)) for job_id in made] == [1] * 40


@pytest.mark.long
def test_a_dispatcher_killed_with_jobs_queued_and_running(stage: Stage) -> None:
    running = stage.submit("latency=1")
    eventually(lambda: len(stage.calls(running)) == 1, "a call is under way")
    stage.actor("dispatcher").kill()
    queued = [stage.submit() for _ in range(5)]
    assert stage.finish(running).status == "succeeded"
    assert {stage.job(job_id).status for job_id in queued} == {"queued"}
    stage.fill()
    assert {stage.finish(job_id).status for job_id in queued} == {"succeeded"}


def test_an_api_killed_while_jobs_are_submitted(stage: Stage) -> None:
    keys = [f"order-{n}" for n in range(40)]

    def submit(key: str) -> str | None:
        try:
            return str(stage.post(key=key).json()["id"])
        except httpx.TransportError:
            return None  # the client cannot know whether it was accepted, and asks again

    with ThreadPoolExecutor(8) as clients:
        first = [clients.submit(submit, key) for key in keys]
        eventually(lambda: sum(each.done() for each in first) >= 10, "some are accepted")
        stage.actor("api").kill()
        answered = {key: each.result() for key, each in zip(keys, first, strict=True)}
        stage.fill()
        again = dict(zip(keys, clients.map(submit, keys), strict=True))
    assert None in answered.values(), "the api was killed too late to be missed"
    assert all(again.values())
    assert {key: id_ for key, id_ in answered.items() if id_ and id_ != again[key]} == {}
    jobs = [stage.finish(id_) for id_ in again.values() if id_]
    assert {job.status for job in jobs} == {"succeeded"}


def test_every_process_killed_at_once(stage: Stage) -> None:
    made = [stage.submit("latency=1.5, ok") for _ in range(10)]
    eventually(lambda: all(stage.calls(job_id) for job_id in made), "every call is under way")
    for role in ("worker", "dispatcher", "api"):
        stage.actor(role).kill()
    stage.fill()
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}


def _late_images(stage: Stage, job_id: str) -> int:
    return stage.number(
        "SELECT count(*) FROM images JOIN attempts ON attempts.job_id = images.job_id "
        "AND number = attempt WHERE spare AND client_request_id LIKE %s",
        f"{job_id}:%",
    )
