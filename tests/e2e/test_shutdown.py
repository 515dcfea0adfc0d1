"""SIGTERM under load: what is in flight is finished, nothing becomes unknown, and the exit is clean."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import PLAIN
from tests.e2e import witnesses
from tests.e2e.stage import CALL, Stage, eventually

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

GRACE = 30.0  # seconds: DARKROOM_GRACE of a stage


@pytest.fixture
def stage(mortal: Stage) -> Iterator[Stage]:
    mortal.fill()
    yield mortal
    mortal.fill()
    witnesses.check(mortal, complaints=("worker.abandons",))


def test_a_worker_told_to_stop_under_load_finishes_what_it_has_begun(stage: Stage) -> None:
    worker = stage.actor("worker")
    made = [stage.submit("latency=2") for _ in range(30)]
    eventually(lambda: all(stage.calls(job_id) for job_id in made), "every call is under way")
    shown = httpx.get(worker.ready, trust_env=False, verify=PLAIN).json()["in_flight"]
    assert shown["generate"] >= len(made)
    later = [stage.submit("latency=0.2") for _ in range(30)]
    assert worker.terminate(GRACE) == 0
    jobs = [stage.job(job_id) for job_id in made]
    assert {job.status for job in jobs} == {"succeeded"}
    stage.fill()
    jobs += [stage.finish(job_id) for job_id in later]
    assert {job.status for job in jobs} == {"succeeded"}
    assert [job.outcomes for job in jobs] == [["image"]] * len(jobs)
    assert '"worker.stopped"' in worker.log.read_text()
    assert stage.number("SELECT count(*) FROM workers WHERE id LIKE %s", f"%-{worker.pid}-%") == 0


@pytest.mark.long
def test_a_call_longer_than_the_grace_is_abandoned_and_its_job_passes_to_others(
    stage: Stage,
) -> None:
    hurried, grace = stage.actor("worker"), 4.0
    hurried.kill()
    (hurried,) = stage.start("worker", environment={"DARKROOM_GRACE": str(grace)})
    job_id = stage.submit(f"latency={CALL - 1:g}, ok")  # no call may take longer than CALL
    eventually(lambda: bool(stage.calls(job_id)), "the call is under way")
    assert hurried.terminate(GRACE) == 0
    assert stage.job(job_id).status == "running", "it ended before the call did"
    said = hurried.log.read_text()
    assert f"DARKROOM_GRACE ({grace:g} s) is shorter than DARKROOM_ATTEMPT_TIMEOUT" in said
    assert '"worker.abandons"' in said
    assert job_id in said
    assert '"worker.stopped"' in said
    stage.fill()
    job = stage.resolved(job_id)
    assert (job.status, job.outcomes) == ("succeeded", ["unknown", "image"])


def test_the_other_roles_told_to_stop_end_at_once_and_lose_nothing(stage: Stage) -> None:
    made = [stage.submit("latency=0.5") for _ in range(10)]
    assert stage.actor("dispatcher").terminate(GRACE) == 0
    assert stage.actor("api").terminate(GRACE) == 0
    stage.fill()
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}
    assert [len(stage.calls(job_id)) for job_id in made] == [1] * len(made)
