"""What a worker and a dispatcher answer to the platform's question whether they live."""

import asyncio
import threading
from datetime import timedelta

import httpx
import pytest
from celery import Celery

from deploy import healthcheck
from deploy.local import ports
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.settings import Settings
from tests.conftest import PLAIN
from worker.dispatcher.duty import Dispatcher, repeat
from worker.dispatcher.watchdog import go_on
from worker.runtime import health

SOON, LONG = timedelta(0), timedelta(minutes=3)


@pytest.fixture
async def dispatcher(settings: Settings, database: Database, presenter: Presenter) -> Dispatcher:
    doorbell = Doorbell(settings.redis_url.get_secret_value())
    return Dispatcher(settings, "d1", database, doorbell, Celery(), presenter)


async def test_a_duty_that_comes_to_no_end_is_named(dispatcher: Dispatcher) -> None:
    begun = asyncio.Event()

    async def hang() -> bool:
        begun.set()
        await asyncio.Event().wait()
        return False

    async def work() -> bool:
        return False

    async with asyncio.TaskGroup() as duties:
        tasks = [
            duties.create_task(repeat(dispatcher, "reap", hang, every=LONG, stuck=SOON)),
            duties.create_task(repeat(dispatcher, "wake", work, every=LONG, stuck=LONG)),
        ]
        await begun.wait()
        assert dispatcher.watchdog.stuck() == "stuck: reap"
        for task in tasks:
            task.cancel()


async def test_a_long_turn_that_shows_that_it_goes_on_is_not_stuck(dispatcher: Dispatcher) -> None:
    steps = [asyncio.Event() for _ in range(3)]

    async def work() -> bool:
        for step in steps:
            go_on()
            await step.wait()
        return False

    # By now each sign but the last is too old, and the last is not.
    duty = asyncio.create_task(repeat(dispatcher, "match", work, every=LONG, stuck=LONG))
    for step in steps:
        await asyncio.sleep(0)
        dispatcher.watchdog.expect("match", SOON)
        assert dispatcher.watchdog.stuck() == "stuck: match"
        step.set()
        while dispatcher.watchdog.stuck() is not None:  # noqa: ASYNC110 - a duty has no event for it
            await asyncio.sleep(0)
    duty.cancel()


async def test_a_trouble_is_a_503_that_says_which(settings: Settings) -> None:
    served = settings.model_copy(update={"metrics_port": ports.pick()})
    trouble = ["the consumer is dead"]

    async def healthy() -> str | None:
        return trouble[0] if trouble else None

    url = f"http://127.0.0.1:{served.metrics_port}/healthz"
    async with (
        health.serve(served, healthy=healthy, ready=healthy, shows=lambda: {"in_flight": 3}),
        httpx.AsyncClient(trust_env=False, verify=PLAIN) as client,
    ):
        answer = await client.get(url)
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "detail": "the consumer is dead"}
        assert await asyncio.to_thread(healthcheck.main, [url]) == 1
        ready = (await client.get(url.replace("healthz", "readyz"))).json()
        assert (ready["status"], ready["in_flight"]) == ("unavailable", 3)
        trouble.clear()
        assert (await client.get(url)).status_code == 200
        assert (await client.head(url)).status_code == 200, "some balancers ask so"
        assert await asyncio.to_thread(healthcheck.main, [url]) == 0


async def test_a_loop_that_is_stuck_fails_the_check(settings: Settings) -> None:
    served = settings.model_copy(update={"metrics_port": ports.pick()})
    checked, found = threading.Event(), list[int]()

    async def fine() -> str | None:
        return None

    def check() -> None:
        found.append(healthcheck.main([f"http://127.0.0.1:{served.metrics_port}/healthz"]))
        checked.set()

    async with health.serve(served, healthy=fine, ready=fine):
        threading.Thread(target=check).start()
        checked.wait()  # on the loop, which serves nothing meanwhile
    assert found == [1]


async def test_half_sent_questions_keep_nobody_from_asking(settings: Settings) -> None:
    async def fine() -> str | None:
        return None

    port = ports.pick()
    served = settings.model_copy(update={"metrics_port": port})
    async with (
        health.serve(served, healthy=fine, ready=fine),
        httpx.AsyncClient(verify=PLAIN) as client,
    ):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
        for _, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\n")
        assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
        async with asyncio.timeout(10):
            assert await held[0][0].read() == b"", "the oldest have made room"
        for _, writer in held:
            writer.close()
