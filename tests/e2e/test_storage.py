"""A store that takes no images stops the paying; what is paid already is kept when it takes them again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.conftest import PLAIN
from tests.e2e import witnesses
from tests.e2e.stage import Stage, eventually

PLACES = 50  # DARKROOM_GENERATE_SLOTS of a stage
JOBS = 200


@pytest.fixture
def stage(mortal: Stage) -> Iterator[Stage]:
    """One living process of each role; afterwards the books must balance."""
    mortal.fill()
    yield mortal
    witnesses.check(mortal)


@contextmanager
def away(stage: Stage) -> Iterator[None]:
    """Let a file stand where the store's folder is to be."""
    images = stage.folder / "images"
    images.rename(stage.folder / "elsewhere")
    images.touch()
    try:
        yield
    finally:
        images.unlink()
        (stage.folder / "elsewhere").rename(images)


@pytest.mark.long
def test_a_dead_store_stops_the_paying_and_loses_nothing(stage: Stage) -> None:
    closed = "SELECT count(*) FROM gates WHERE reason = 'storage'"
    before = len(stage.calls())
    with away(stage):
        made = [stage.submit() for _ in range(JOBS)]
        eventually(lambda: stage.number(closed) == 1, "the gate is closed")
        waiting = "SELECT count(*) FROM jobs WHERE status = 'queued' AND phase = 'call'"
        eventually(lambda: stage.job(made[-1]).waiting_reason == "storage", "the last one says so")
        paid = len(stage.calls()) - before
        assert 0 < paid <= PLACES
        # What was dispatched to a worker that died just before comes back when its lease ends.
        eventually(lambda: stage.number(waiting) == JOBS - paid, "what is not paid waits")
        assert len(stage.calls()) - before == paid
        told = stage.client.get(f"/v1/jobs/{made[-1]}/explain").json()
        assert "Our own store takes no images" in told["message"]
    assert {stage.finish(job_id, 60).status for job_id in made} == {"succeeded"}
    assert len(stage.calls()) - before == JOBS  # and nothing was paid twice


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="a folder that refuses even root")
def test_a_worker_is_not_ready_before_its_store_has_taken_a_probe_object(stage: Stage) -> None:
    worker = stage.begin("worker", {"DARKROOM_STORAGE_URL": "/proc"})
    eventually(lambda: "waiting.storage" in worker.log.read_text(), "it waits for its store")
    answer = httpx.get(worker.ready, trust_env=False, verify=PLAIN)
    assert answer.status_code == 503
    assert "its store to take a probe object: probe-" in answer.json()["detail"]
    gates = stage.number("SELECT count(*) FROM gates")
    worker.kill()
    assert gates == 0  # one that never worked stops nobody
