"""Redis as operators run it: switched to a replica behind sentinels, with a wrong password, a cluster."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import redis

from deploy.local.servers import valkey
from tests.e2e import stage as stages
from tests.e2e import witnesses
from tests.e2e.stage import Actor, Stage, eventually
from tests.e2e.test_redis import COMPLAINTS
from tests.fixtures import sentinels
from tests.fixtures.sentinels import Watched

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with sentinels.watching(tmp_path_factory.mktemp("watched")) as three:
        yield three


@pytest.fixture
def stage(tmp_path: Path, postgres_server: str, watched: Watched) -> Iterator[Stage]:
    """A Darkroom of its own, whose Redis is whichever server the sentinel names."""
    with stages.opened(tmp_path, postgres_server, watched.url) as opened:
        yield opened


def _says(actor: Actor, why: str) -> bool:
    """Return whether a role says this of why it is not ready."""
    try:
        return why in httpx.get(actor.ready, timeout=2, trust_env=False).text
    except httpx.HTTPError:
        return False


@pytest.mark.long
def test_a_switch_to_the_replica_ends_no_worker_and_loses_no_job(
    stage: Stage, watched: Watched
) -> None:
    stage.fill()
    roles = {each.pid for each in stage.actors}
    made = [stage.submit("latency=0.5") for _ in range(10)]
    watched.switch()
    made += [stage.submit() for _ in range(10)]
    assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}
    assert {each.pid for each in stage.actors if each.process.poll() is None} == roles
    assert [len(stage.calls(job_id)) for job_id in made] == [1] * len(made)
    witnesses.check(stage, complaints=(*COMPLAINTS, "read only", "READONLY"))


def test_a_wrong_password_makes_worker_and_dispatcher_unready_and_says_so(
    tmp_path: Path, postgres_server: str
) -> None:
    with valkey.serve(tmp_path / "locked") as locked:
        url = f"redis://:wrong@127.0.0.1:{locked.port}/0"
        with stages.opened(tmp_path / "stage", postgres_server, url) as stage:
            for role in ("worker", "dispatcher"):
                actor = stage.begin(role)
                eventually(partial(_says, actor, "password of REDIS_URL"), role)
                actor.kill()


def test_a_cluster_ends_the_worker_with_a_status_and_one_line(
    tmp_path: Path, postgres_server: str
) -> None:
    with valkey.serve(tmp_path / "cluster", extra="cluster-enabled yes\n") as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        with stages.opened(tmp_path / "stage", postgres_server, server.url) as stage:
            actor = stage.begin("worker")
            assert actor.process.wait(stages.START) == 1
            (line,) = [each for each in actor.news() if each.startswith("darkroom worker: ")]
            assert "REDIS_URL leads to a Redis Cluster" in line
