"""Redis is a doorbell: whatever happens to it costs latency, and nothing else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from deploy.local.servers.server import Server
from tests.e2e import witnesses
from tests.e2e.stage import Actor, Stage, eventually

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

RELEASED = 50  # DARKROOM_PROVIDER_LIMIT of a stage: what is beyond stays queued
# What Celery and our own roles may say of a Redis that is not there.
COMPLAINTS = ("onnection", "redis", "Restoring")
# What makes it refuse to write for a while, and what ends that.
REFUSALS = {
    "out of memory": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "without replicas": (
        "CONFIG SET min-replicas-to-write 1",
        "CONFIG SET min-replicas-to-write 0",
    ),
    "a replica itself": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
}


@pytest.fixture
def stage(mortal: Stage) -> Iterator[Stage]:
    """One living process of each role; afterwards the books must balance."""
    mortal.fill()
    yield mortal
    witnesses.check(mortal, complaints=COMPLAINTS)


def test_everything_in_redis_is_thrown_away_with_jobs_queued_and_dispatched(
    stage: Stage, doorbell: Server
) -> None:
    worker = stage.actor("worker")
    worker.freeze()
    made = [stage.submit() for _ in range(RELEASED + 10)]
    released = "SELECT count(*) FROM jobs WHERE status = 'released'"
    eventually(lambda: stage.number(released) == RELEASED, "messages wait in Redis")
    with redis.Redis.from_url(doorbell.url) as client:
        client.flushall()
    worker.thaw()
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}
    assert [len(stage.calls(job_id)) for job_id in made] == [1] * len(made)


def test_jobs_are_accepted_while_redis_is_away_and_run_when_it_is_back(
    stage: Stage, doorbell: Server
) -> None:
    running = [stage.submit("latency=1") for _ in range(5)]
    eventually(lambda: all(stage.calls(job_id) for job_id in running), "calls are under way")
    doorbell.kill()
    queued = [_submit_at_once(stage) for _ in range(20)]
    assert {stage.finish(job_id).status for job_id in running} == {"succeeded"}
    assert {stage.job(job_id).status for job_id in queued} == {"queued"}
    doorbell.start()
    assert {stage.finish(job_id).status for job_id in queued} == {"succeeded"}


@pytest.mark.long
def test_every_role_starts_without_redis_and_works_when_it_is_back(
    stage: Stage, doorbell: Server
) -> None:
    doorbell.kill()
    for role in ("api", "dispatcher", "worker"):
        stage.actor(role).kill()
    stage.fill()
    made = _submit_at_once(stage)
    doorbell.start()
    assert stage.finish(made).status == "succeeded"


@pytest.mark.long
def test_a_frozen_redis_holds_up_no_submission(stage: Stage, doorbell: Server) -> None:
    doorbell.pause()
    made = [_submit_at_once(stage) for _ in range(20)]
    # Until the dispatcher has given it up, which takes the broker's `socket_timeout` of 10 s.
    eventually(lambda: "redis.away" in stage.actor("dispatcher").log.read_text(), "it is given up")
    doorbell.resume()
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}


def test_a_redis_out_of_memory_is_asked_seldom_and_goes_on_when_it_has_some(
    stage: Stage, doorbell: Server
) -> None:
    dispatcher = stage.actor("dispatcher")
    dispatcher.news()
    with redis.Redis.from_url(doorbell.url) as client:
        client.config_set("maxmemory", 1)
        made = [_submit_at_once(stage) for _ in range(10)]
        began, seen = time.monotonic(), list[str]()

        def refused_thrice() -> bool:
            seen.extend(line for line in dispatcher.news() if "redis.away" in line)
            return len(seen) >= 3

        eventually(refused_thrice, "it is tried again")
        assert len(seen) <= 4 + (time.monotonic() - began)  # and not 20 times a second
        assert {stage.job(job_id).status for job_id in made} == {"queued"}
        client.config_set("maxmemory", 0)
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_redis_that_refuses_to_write_for_now_ends_no_worker(
    stage: Stage, doorbell: Server, refusal: str
) -> None:
    worker = stage.actor("worker")
    with _refusing(doorbell, refusal):  # while it waits for a message
        queued = [_submit_at_once(stage) for _ in range(10)]
        eventually(lambda: _complains(stage.actor("dispatcher")), "the dispatcher has met it")
    assert {stage.finish(job_id).status for job_id in queued} == {"succeeded"}
    worker.freeze()
    queued += [stage.submit() for _ in range(10)]
    released = "SELECT count(*) FROM jobs WHERE status = 'released'"
    eventually(lambda: stage.number(released) == 10, "messages wait in Redis")
    worker.news()
    with _refusing(doorbell, refusal):  # while it takes one
        worker.thaw()
        eventually(lambda: _complains(worker), "the worker has met it")
    assert {stage.finish(job_id).status for job_id in queued} == {"succeeded"}
    assert worker.process.poll() is None
    assert [len(stage.calls(job_id)) for job_id in queued] == [1] * len(queued)


@contextmanager
def _refusing(doorbell: Server, refusal: str) -> Iterator[None]:
    begin, end = REFUSALS[refusal]
    with redis.Redis.from_url(doorbell.url) as client:
        client.execute_command(*begin.split())
        try:
            yield
        finally:
            client.execute_command(*end.split())


def _complains(actor: Actor) -> bool:
    return any("redis.away" in line or "broker lost" in line for line in actor.news())


def _submit_at_once(stage: Stage) -> str:
    began = time.monotonic()
    job_id = stage.submit()
    assert time.monotonic() - began < 0.5
    return job_id
