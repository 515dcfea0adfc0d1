"""A Redis that takes no messages is tried seldom, with one job, and at once again when it takes one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from celery import Celery
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.local.servers import valkey
from deploy.local.servers.server import Server
from deploy.simulator import Running
from models.accounts.callers import Caller
from models.platform.db import Database
from models.settings import Settings
from tests.fixtures import spending
from tests.fixtures.spending import House
from worker.dispatcher.duties import dispatching
from worker.dispatcher.publishing import Patience
from worker.runtime.app import app, connect

_SAME = ("task_queues", "task_routes", "task_ignore_result", "broker_transport_options")
SEEN = "darkroom_broker_refused_total"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis of these tests alone: its memory is taken away."""
    with valkey.serve(tmp_path_factory.mktemp("full")) as running:
        yield running


@pytest.fixture
def full(server: Server) -> Iterator["redis.Redis"]:
    """A client of a Redis that refuses what needs memory, and answers PING."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        yield client
        client.config_set("maxmemory", 0)
        client.flushall()


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running, server: Server
) -> AsyncIterator[House]:
    ours = {"redis_url": server.url}
    async with spending.opened(settings, database, caller, provider, **ours) as opened:
        # The one of this process keeps its connections to the Redis of the tests before.
        celery = Celery("full", broker=server.url)
        celery.conf.update({name: app.conf[name] for name in _SAME})
        opened.reader = replace(
            opened.reader, dispatcher=replace(opened.reader.dispatcher, celery=celery)
        )
        yield opened


async def test_a_redis_out_of_memory_is_left_in_peace_and_then_goes_on_at_once(
    house: House, full: "redis.Redis"
) -> None:
    assert full.ping()
    made = [await house.submit() for _ in range(5)]
    dispatcher, before = house.reader.dispatcher, REGISTRY.get_sample_value(SEEN) or 0
    with capture_logs() as logs:
        waits = [await dispatching.run(dispatcher, dispatching.Last())]
        # As often as a doorbell may ring: nothing is dispatched meanwhile, and Redis is not asked.
        waits += [await dispatching.run(dispatcher, dispatching.Last()) for _ in range(20)]
    away = [line for line in logs if line["event"] == "redis.away"]
    (reason,) = (line["reason"] for line in away)
    assert reason.startswith("OperationalError: ")
    assert "maxmemory" in reason
    assert REGISTRY.get_sample_value(SEEN) == before + 1
    assert waits[0] is False
    assert all(
        isinstance(wait, timedelta) and wait <= timedelta(seconds=0.25) for wait in waits[1:]
    )
    rows = await house.bench.rows("SELECT status, fence FROM jobs ORDER BY rank")
    assert [(row["status"], row["fence"]) for row in rows] == [("queued", 1)] * 5
    await asyncio.sleep(dispatcher.patience.left.total_seconds() if dispatcher.patience.left else 0)
    await dispatching.run(dispatcher, dispatching.Last())  # with one job
    rows = await house.bench.rows("SELECT fence FROM jobs ORDER BY rank")
    assert [row["fence"] for row in rows] == [2, 1, 1, 1, 1]
    full.config_set("maxmemory", 0)
    await asyncio.sleep(dispatcher.patience.left.total_seconds() if dispatcher.patience.left else 0)
    assert await dispatching.run(dispatcher, dispatching.Last()) is True
    assert await house.work() == 5
    assert {(await house.bench.job(each))["status"] for each in made} == {"succeeded"}


def test_the_wait_doubles_up_to_its_cap_and_ends_with_the_first_message() -> None:
    now = [100.0]
    patience = Patience(lambda: now[0])
    assert (patience.left, patience.batch(200)) == (None, 200)
    waits = []
    for _ in range(8):
        waits.append(patience.refused().total_seconds())
        assert patience.left is not None
        assert patience.batch(200) == 1
        now[0] += waits[-1]
        assert patience.left is None
    assert waits == [0.25, 0.5, 1, 2, 4, 5, 5, 5]
    patience.taken()
    assert (patience.left, patience.batch(200)) == (None, 200)
    assert patience.refused().total_seconds() == 0.25


def test_another_programs_celery_leads_nobody_astray(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/7")
    celery = connect(settings)
    for connection in (celery.connection_for_read(), celery.connection_for_write()):
        assert connection.as_uri(include_password=True) == settings.redis_url.get_secret_value()
