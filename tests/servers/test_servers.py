"""The main job, budgets, webhooks and the dispatch, on servers as operators have them."""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.local.servers.server import Server
from models.platform.db import SESSION, Database
from models.platform.doorbell import Doorbell
from tests.conftest import make_settings
from tests.e2e import stage as stages
from tests.e2e import witnesses
from tests.e2e.stage import PRICE, Stage, eventually
from tests.e2e.test_redis import COMPLAINTS
from tests.fixtures import replicas, sentinels
from tests.servers import programs
from tests.servers.conftest import darkroom, template

JOBS = 12
WAITING = 60


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory,
    debian: Server,
    redis_tls: Server,
    bucket: dict[str, str],
) -> Iterator[Stage]:
    """A Darkroom on Debian's PostgreSQL, Debian's Redis with TLS, and S3."""
    folder = tmp_path_factory.mktemp("stage")
    with darkroom(folder, debian.url, redis_tls.url, bucket) as stage:
        yield stage


def test_the_main_job_keeps_its_image_and_calls_back(stage: Stage) -> None:
    made = [stage.submit() for _ in range(JOBS)]
    jobs = [stage.finish(job_id) for job_id in made]
    assert {job.status for job in jobs} == {"succeeded"}
    assert [job.cost.charged for job in jobs] == [PRICE] * JOBS
    url = jobs[0].result.data[0].url if jobs[0].result else ""
    image = stage.client.get(url)
    assert image.headers["content-type"] == "image/jpeg"
    assert len(image.content) == int(image.headers["content-length"]) > 10_000
    eventually(lambda: len(stage.receiver.received) >= JOBS, "each webhook has come")


def test_a_budget_holds(stage: Stage) -> None:
    asked = {"scope": "project", "window": "total", "limit": 0, "mode": "hard"}
    made = stage.client.put("/v1/budgets", json=asked)
    assert made.status_code == 200, made.text
    assert stage.post().json()["code"] == "budget_exceeded"
    assert stage.client.delete(f"/v1/budgets/{made.json()['id']}").status_code == 204


def test_no_connection_of_ours_compiles(stage: Stage, debian: Server) -> None:
    with psycopg.connect(debian.url) as plain:
        default = plain.execute("SHOW jit").fetchone()
    settings = make_settings(database_url=stage.settings.database_url.get_secret_value())
    assert default == ("on",), "a packaged server compiles by default: what this test is for"
    assert _shown(settings.database_url.get_secret_value()) == "off"


async def test_a_redis_whose_authority_was_not_named_is_told_from_an_absence(
    redis_tls: Server,
) -> None:
    async with Doorbell(redis_tls.url.partition("?")[0]) as bell:
        assert not await bell.answers()
        assert bell.refusal == "Redis' TLS is not to be believed: CERTIFICATE_VERIFY_FAILED"


async def test_a_redis_url_that_has_an_s_too_many_or_too_few_is_told_so(
    redis_tls: Server, redis_server: str
) -> None:
    plain = redis_tls.url.partition("?")[0].replace("rediss://", "redis://")
    for url, how in (
        (plain, "by TLS: it is rediss://"),
        (redis_server.replace("redis://", "rediss://"), "without TLS: it is redis://"),
    ):
        async with Doorbell(url) as bell:
            assert not await bell.answers()
            assert bell.refusal == f"REDIS_URL leads to a Redis that is reached {how}"


@pytest.mark.long
def test_a_job_waits_no_longer_for_its_dispatch_than_on_our_own_server(
    stage: Stage, postgres_server: str, redis_server: str, tmp_path: Path
) -> None:
    there = _drained(stage)
    with darkroom(tmp_path, postgres_server, redis_server, {}) as ours:
        here = _drained(ours)
    sys.stderr.write(f"{WAITING} jobs: {there:.1f} s on Debian's, {here:.1f} s on our own server\n")
    # Compiled it was a hundred times as long; a machine that is busy takes some times as long.
    assert there < 10 * here


@pytest.fixture
def bounced(debian: Server, redis_server: str, tmp_path: Path) -> Iterator[Stage]:
    """A Darkroom, not started yet, that reaches its database through pgbouncer in transaction mode."""
    with (
        programs.debian_pgbouncer(tmp_path / "pgbouncer", debian) as front,
        stages.opened(tmp_path / "stage", debian.url, redis_server) as stage,
    ):
        there = stage.environment["DATABASE_URL"].replace(f":{debian.port}/", f":{front.port}/")
        stage.environment = {
            **stage.environment,
            "DATABASE_URL": there,
            "DARKROOM_DATABASE_PREPARE": "false",
        }
        yield stage


@pytest.mark.long
def test_behind_pgbouncer_in_transaction_mode_nothing_is_lost(bounced: Stage) -> None:
    name = bounced.environment["DATABASE_URL"].rpartition("/")[2]
    for setting, value in SESSION.items():
        bounced.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    bounced.fill()
    made = [bounced.submit() for _ in range(JOBS)]
    assert {bounced.finish(job_id).status for job_id in made} == {"succeeded"}
    assert [len(bounced.calls(job_id)) for job_id in made] == [1] * JOBS
    witnesses.check(bounced)


def test_a_pgbouncer_that_drops_our_options_is_told_of_in_one_line(bounced: Stage) -> None:
    actor = bounced.begin("dispatcher")
    assert actor.process.wait(stages.START) == 2
    (line,) = [each for each in actor.news() if each.startswith("darkroom dispatcher: ")]
    assert "drops the options of a session (jit)" in line
    assert "ALTER ROLE postgres SET jit = 'off'; " in line


@pytest.mark.long
def test_a_failover_of_postgres_costs_seconds_and_no_job(redis_server: str, tmp_path: Path) -> None:
    with (
        programs.debian_postgres(tmp_path / "first") as first,
        replicas.following(first, tmp_path / "second") as second,
    ):
        template(first)
        with stages.opened(tmp_path / "stage", first.url, redis_server) as stage:
            database = stage.environment["DATABASE_URL"].rpartition("/")[2]
            both = replicas.both(first, second).replace("/postgres?", f"/{database}?")
            stage.environment = {**stage.environment, "DATABASE_URL": both}
            stage.fill()
            made = [stage.submit("latency=1") for _ in range(JOBS)]
            first.stop()
            replicas.promote(second)
            eventually(lambda: stage.post().status_code == 202, "it accepts again")
            assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}
            assert [len(stage.calls(job_id)) for job_id in made] == [1] * JOBS
            stage.leave()  # before there are two that may be written to
            first.start()  # where the stage's database is removed


@pytest.mark.long
def test_a_failover_of_redis_costs_seconds_and_no_job(debian: Server, tmp_path: Path) -> None:
    with (
        sentinels.watching(tmp_path / "redis") as watched,
        darkroom(tmp_path / "stage", debian.url, watched.url, {}) as stage,
    ):
        made = [stage.submit("latency=0.5") for _ in range(JOBS)]
        watched.primary.kill()
        watched.until_switched()
        made += [stage.submit() for _ in range(JOBS)]
        assert {stage.finish(job_id).status for job_id in made} == {"succeeded"}
        assert [len(stage.calls(job_id)) for job_id in made] == [1] * len(made)
        witnesses.check(stage, complaints=(*COMPLAINTS, "READONLY", "Cannot connect"))


def _shown(url: str) -> str:
    """Return what a connection of a role's is told of JIT."""

    async def ask() -> str:
        database = Database(make_settings(database_url=url), ring=lambda _topic, _key: None, pool=1)
        try:
            (row,) = await database.direct.read(b"SHOW jit", {})
            return str(row["jit"])
        finally:
            await database.close()

    return asyncio.run(ask())


def _drained(stage: Stage) -> float:
    """Return the seconds from the first of many submissions until all of them are through."""
    began = time.monotonic()
    made = [stage.submit() for _ in range(WAITING)]
    for job_id in made:
        stage.finish(job_id)
    return time.monotonic() - began
