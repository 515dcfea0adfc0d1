"""Postgres or Redis away: refused at once or accepted as ever, never a 500, and soon well again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from deploy.local.servers import postgres, valkey
from deploy.local.servers.server import Server
from models.accounts import api_keys
from models.errors import Unavailable
from models.platform.db import Database, migrate
from tests.conftest import PLAIN, make_settings
from tests.integration.api.client import Api, bearer, body, path, problem
from tests.integration.api.conftest import serve
from tests.integration.api.contract import operations

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

RECOVERS = 5.0  # seconds


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL of this file's own, to be killed and frozen."""
    with postgres.serve(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        migrate.migrate(server.url)
        yield server


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis of this file's own."""
    with valkey.serve(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def api(own_postgres: Server, own_redis: Server, tmp_path: Path) -> AsyncIterator[Api]:
    """An API on servers that may be stopped; they run again after each test."""
    with psycopg.connect(own_postgres.url, autocommit=True) as admin:
        admin.execute("TRUNCATE projects CASCADE")
    settings = make_settings(
        database_url=own_postgres.url, redis_url=own_redis.url, storage_url=str(tmp_path)
    )
    database = Database(settings, ring=lambda _topic, _key: None)
    try:
        async with serve(settings, database) as running:
            yield running
    finally:
        for server in (own_postgres, own_redis):
            server.resume()
            if not server.running:
                server.start()  # in this thread: a server ends with the one that started it
        await database.close()


async def assert_recovers(api: Api) -> None:
    """Demand that jobs are accepted again within five seconds."""
    started = time.monotonic()
    while (answer := await api.client.post("/v1/jobs", json=body())).status_code != 202:
        problem(answer, 503, "unavailable")
        assert time.monotonic() - started < RECOVERS
        await asyncio.sleep(0.1)
    assert time.monotonic() - started < RECOVERS
    assert (await api.client.get(answer.headers["location"])).status_code == 200


async def assert_unavailable_everywhere(api: Api, seconds: float) -> None:
    """Ask every route at once, with a key that this process knows and one that it does not."""
    unknown = bearer(api_keys.new_key())
    started = time.monotonic()
    keys = unknown, bearer(api.key)
    async with httpx.AsyncClient(
        base_url=api.url, trust_env=False, timeout=30, limits=httpx.Limits(), verify=PLAIN
    ) as client:
        answers = await asyncio.gather(
            *(each.ask(client, {}, key) for key in keys for each in operations())
        )
    assert time.monotonic() - started < seconds
    for answer in answers:
        of_catalog = answer.request.url.path.startswith(("/v1/models", "/v1/quotes"))
        if of_catalog and answer.status_code in {200, 404}:
            continue  # the catalog is in this process, and the key was known
        lists = answer.request.method == "GET" or answer.request.url.path == "/v1/jobs/actions"
        if lists and answer.status_code == 429:
            # A project reads few lists at once, of what an action would do too; those before are stuck.
            assert problem(answer, 429, "rate_limited")["retryable"] is True
            continue
        said = problem(answer, 503, "unavailable")
        assert said["retryable"] is True
        assert int(answer.headers["retry-after"]) >= 1
    for where in ("/healthz", "/readyz", "/metrics"):
        assert (await api.client.get(where)).status_code == 200, where


async def test_while_postgres_is_down_every_route_says_so_and_then_recovers(
    api: Api, own_postgres: Server
) -> None:
    job = await api.submit()
    await api.life.succeed(job)
    result = (await api.job(job))["result"]
    assert isinstance(result, dict)
    own_postgres.kill()
    await assert_unavailable_everywhere(api, seconds=10)
    signed = result["data"][0]["url"].removeprefix(api.state.settings.public_url)
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as stranger:
        problem(await stranger.get(signed), 503, "unavailable")
    own_postgres.start()
    await assert_recovers(api)
    assert (await api.job(job))["status"] == "succeeded"


@pytest.mark.long
async def test_while_postgres_is_frozen_every_route_says_so_and_then_recovers(
    api: Api, own_postgres: Server
) -> None:
    await api.submit()
    own_postgres.pause()
    await assert_unavailable_everywhere(api, seconds=28)
    own_postgres.resume()
    await assert_recovers(api)


async def test_a_restart_of_postgres_loses_no_job_and_makes_none_twice(
    api: Api, own_postgres: Server
) -> None:
    done = asyncio.Event()

    async def persist(name: str) -> str:
        """Submit as a client should: with a key, until it is accepted."""
        while True:
            answer = await api.client.post(
                "/v1/jobs", json=body(tags=[name]), headers={"idempotency-key": name}
            )
            if answer.status_code == 202:
                return str(answer.json()["id"])
            problem(answer, 503, "unavailable")
            await asyncio.sleep(0.05)

    async def client(number: int) -> list[str]:
        made: list[str] = []
        while not done.is_set():
            made.append(await persist(f"{number}-{len(made)}"))
        return made

    clients = [asyncio.create_task(client(number)) for number in range(8)]
    for stop in (own_postgres.restart, own_postgres.kill, own_postgres.start):
        await asyncio.sleep(0.5)
        stop()
    await asyncio.sleep(0.5)
    done.set()
    async with asyncio.timeout(15):
        made = [each for many in await asyncio.gather(*clients) for each in many]
    assert len(made) == len(set(made)) > 8
    with psycopg.connect(own_postgres.url) as fresh:
        for table in ("jobs", "ledger"):
            counting = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            counted = fresh.execute(counting).fetchone()
            assert counted == (len(made),), table


@pytest.mark.long
async def test_a_client_that_waits_through_a_restart_is_answered(
    api: Api, own_postgres: Server
) -> None:
    job = await api.submit()
    held = asyncio.create_task(api.client.get(path(job), params={"wait": 30}))
    await asyncio.sleep(0.3)
    own_postgres.restart()
    async with asyncio.timeout(RECOVERS):
        while True:
            try:
                await api.life.expire(job)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                break
    answer = await asyncio.wait_for(held, 8)
    assert answer.json()["status"] == "expired"


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_without_redis_jobs_are_accepted_as_quickly_as_ever(
    api: Api, own_redis: Server, how: str
) -> None:
    await api.submit()
    (own_redis.kill if how == "killed" else own_redis.pause)()
    seconds = []
    for _ in range(100):
        started = time.perf_counter()
        await api.submit()
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[98] < 0.5
    assert await api.life.count("jobs") == 101
    assert (await api.client.get("/readyz")).status_code == 200


@pytest.mark.long
async def test_without_redis_a_wait_ends_some_seconds_late(api: Api, own_redis: Server) -> None:
    own_redis.kill()
    job = await api.submit()
    held = asyncio.create_task(api.client.get(path(job), params={"wait": 30}))
    await asyncio.sleep(0.3)
    await api.life.expire(job)
    answer = await asyncio.wait_for(held, 8)
    assert answer.json()["status"] == "expired"


async def test_when_redis_is_back_rings_are_heard_again(api: Api, own_redis: Server) -> None:
    async with asyncio.timeout(5):
        while not api.state.doorbell.connected:  # noqa: ASYNC110 - the doorbell has no event
            await asyncio.sleep(0.02)
    own_redis.restart()
    async with asyncio.timeout(8):
        while not api.state.doorbell.connected:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.02)
    job = await api.submit()
    held = asyncio.create_task(api.client.get(path(job), params={"wait": 30}))
    await asyncio.sleep(0.3)
    await api.client.post(path(job, "/cancel"))
    answer = await asyncio.wait_for(held, 3)
    assert answer.json()["status"] == "canceled"
