import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from deploy.local import ports
from deploy.local.servers import valkey
from deploy.local.servers.server import Server
from models.platform.doorbell import Doorbell

SOON = timedelta(seconds=5)  # far more than a ring takes, even on a busy machine
MOMENT = timedelta(milliseconds=150)
NOW = timedelta(0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with valkey.serve(tmp_path / "valkey") as server:
        yield server


async def listening(bell: Doorbell, *topics: str) -> None:
    await bell.listen(*topics)
    await until(lambda: bell.connected)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # what is waited for happens to the doorbell itself
            await asyncio.sleep(0.01)


async def test_a_ring_wakes_a_waiter_in_another_process(server: Server) -> None:
    async with Doorbell(server.url) as api, Doorbell(server.url) as worker:
        await listening(api, "job")
        with api.waiter("job", "job_1") as waiter:
            worker.ring("job", "job_1")
            assert await waiter.wait(SOON)


async def test_a_ring_wakes_exactly_its_topic_and_key(server: Server) -> None:
    async with Doorbell(server.url) as bell:
        await listening(bell, "job", "jobs")
        with (
            bell.waiter("job", "a") as first,
            bell.waiter("job", "a") as second,
            bell.waiter("job", "b") as other_key,
            bell.waiter("jobs") as other_topic,
        ):
            bell.ring("job", "a")
            assert await first.wait(SOON)
            assert await second.wait(SOON)
            assert not await other_key.wait(MOMENT)
            assert not await other_topic.wait(NOW)


async def test_a_topic_nobody_subscribed_to_is_not_heard(server: Server) -> None:
    async with Doorbell(server.url) as bell:
        await listening(bell, "job")
        with bell.waiter("deliveries") as waiter:
            bell.ring("deliveries")
            assert not await waiter.wait(MOMENT)
            await listening(bell, "deliveries")
            await waiter.wait(SOON)  # the new subscription wakes everybody once
            bell.ring("deliveries")
            assert await waiter.wait(SOON)


async def test_a_ring_before_the_wait_is_not_lost_and_is_heard_once() -> None:
    bell = Doorbell("redis://127.0.0.1:1")
    with bell.waiter("job", "a") as waiter:
        bell.wake("job", "a")
        bell.wake("job", "a")
        assert await waiter.wait(NOW)
        assert not await waiter.wait(NOW)
        bell.wake("job", "a")
        assert await waiter.wait(NOW)


async def test_a_wait_ends_at_its_timeout() -> None:
    bell = Doorbell("redis://127.0.0.1:1")
    with bell.waiter("job", "a") as waiter:
        began = perf_counter()
        assert not await waiter.wait(MOMENT)
        assert perf_counter() - began >= MOMENT.total_seconds() * 0.9


async def test_a_canceled_wait_leaves_a_waiter_that_still_hears() -> None:
    bell = Doorbell("redis://127.0.0.1:1")
    with bell.waiter("job", "a") as waiter:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await waiter.wait(SOON)
        bell.wake("job", "a")
        assert await waiter.wait(NOW)


async def test_the_keys_waited_for_are_known_while_they_are_waited_for() -> None:
    bell = Doorbell("redis://127.0.0.1:1")
    with bell.waiter("job", "a"), bell.waiter("job", "b"):
        with bell.waiter("job", "a"):
            assert sorted(bell.waiting("job")) == ["a", "b"]
        assert sorted(bell.waiting("job")) == ["a", "b"]
        assert bell.waiting("jobs") == []
    assert bell.waiting("job") == []


async def test_without_redis_ringing_returns_at_once_and_counts_what_it_drops() -> None:
    async with Doorbell(f"redis://127.0.0.1:{ports.pick()}") as bell:
        await bell.listen("job")
        began = perf_counter()
        for number in range(20_000):
            bell.ring("job", str(number))
        assert perf_counter() - began < 1
        assert bell.dropped == 10_000  # the queue takes as many
        await until(lambda: bell.dropped > 10_000)
    assert bell.dropped == 20_000
    bell.ring("job", "after the end")
    assert bell.dropped == 20_001


async def test_the_same_ring_many_times_is_sent_once(server: Server) -> None:
    async with Doorbell(server.url) as bell, Redis.from_url(server.url) as redis:
        for _ in range(50_000):
            bell.ring("jobs")
        await asyncio.sleep(0.2)
        assert bell.dropped == 0
        assert (await redis.info("commandstats"))["cmdstat_publish"]["calls"] == 1


async def test_the_last_rings_are_sent_before_the_end(server: Server) -> None:
    async with Doorbell(server.url) as listener:
        await listening(listener, "job")
        with listener.waiter("job", "600") as waiter:
            async with Doorbell(server.url) as bell:
                for number in range(601):  # of more than one round trip
                    bell.ring("job", str(number))
            assert bell.dropped == 0
            assert await waiter.wait(SOON)


async def test_a_killed_and_restarted_server_is_heard_again(server: Server) -> None:
    async with Doorbell(server.url) as bell:
        await listening(bell, "job")
        with bell.waiter("job", "a") as waiter:
            server.kill()
            bell.ring("job", "a")
            assert not await waiter.wait(MOMENT)
            assert not bell.connected
            server.start()
            assert await waiter.wait(SOON)  # the new connection wakes everybody
            await until(lambda: bell.dropped == 1)
            bell.ring("job", "a")
            assert await waiter.wait(SOON)


async def test_a_frozen_server_blocks_nobody_and_is_heard_again(server: Server) -> None:
    quarter = timedelta(milliseconds=250)
    async with Doorbell(server.url, ping_every=quarter) as bell:
        await listening(bell, "job")
        with bell.waiter("job", "a") as waiter:
            server.pause()
            try:
                began = perf_counter()
                for number in range(1_000):
                    bell.ring("job", str(number))
                assert not await waiter.wait(MOMENT)
                assert perf_counter() - began < 1
                await until(lambda: not bell.connected)
            finally:
                server.resume()
            assert await waiter.wait(SOON)


async def test_leaving_while_the_server_is_frozen_takes_a_moment(server: Server) -> None:
    async with Doorbell(server.url) as bell:
        await listening(bell, "job")
        server.pause()
        bell.ring("job", "a")
        began = perf_counter()
    assert perf_counter() - began < 3
    server.resume()


async def test_a_silent_connection_stands_as_long_as_pings_are_answered(server: Server) -> None:
    async with Doorbell(server.url, ping_every=timedelta(milliseconds=20)) as bell:
        await listening(bell, "job")
        with bell.waiter("job", "a") as waiter:
            assert not await waiter.wait(timedelta(milliseconds=500))  # a new connection would wake


async def test_flushall_changes_nothing(server: Server) -> None:
    async with Doorbell(server.url) as bell, Redis.from_url(server.url) as redis:
        await listening(bell, "job")
        await redis.flushall()
        with bell.waiter("job", "a") as waiter:
            bell.ring("job", "a")
            assert await waiter.wait(SOON)


async def test_two_thousand_waiters_are_cheap_and_each_is_woken(server: Server) -> None:
    async def wait(key: str) -> bool:
        with bell.waiter("job", key) as waiter:
            return await waiter.wait(timedelta(seconds=30))

    async with Doorbell(server.url) as bell:
        await listening(bell, "job")
        gc.collect()
        tracemalloc.start()
        try:
            tasks = [asyncio.create_task(wait(f"job_{number:026}")) for number in range(2_000)]
            await asyncio.sleep(0)
            each = tracemalloc.get_traced_memory()[0] / len(tasks)
        finally:
            tracemalloc.stop()
        assert each < 4_096  # the task itself included
        assert len(bell.waiting("job")) == 2_000
        for key in bell.waiting("job"):
            bell.ring("job", key)
        assert all(await asyncio.gather(*tasks))
        assert bell.waiting("job") == []


async def test_leaving_while_it_begins_to_listen_ends_at_any_moment(server: Server) -> None:
    for steps in range(40):  # of the loop; it has connected and subscribed by then
        async with asyncio.timeout(5), Doorbell(server.url) as bell:
            await bell.listen("job")
            for _ in range(steps):
                await asyncio.sleep(0)


async def test_nothing_is_left_after_the_end(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    with caplog.at_level(logging.WARNING):
        async with Doorbell(server.url) as bell:
            await listening(bell, "job")
            bell.ring("job", "a")
        async with Redis.from_url(server.url) as redis:
            clients = await redis.client_list()
        gc.collect()
    assert asyncio.all_tasks() == before
    assert len(clients) == 1  # the one that asks
    assert caplog.records == []


async def test_a_wrong_password_is_told_from_an_absence(server: Server) -> None:
    async with Doorbell(server.url) as bell:
        assert await bell.answers()
        assert bell.refusal is None
    wrong = f"redis://:wrong@127.0.0.1:{server.port}/0"
    async with Doorbell(wrong) as bell:
        assert not await bell.answers()
        assert bell.refusal == "Redis refuses the user or password of REDIS_URL"
    server.kill()
    async with Doorbell(wrong) as bell:
        assert not await bell.answers()
        assert bell.refusal is None


async def test_a_database_that_redis_has_not_is_told_from_an_absence(server: Server) -> None:
    async with Doorbell(server.url.replace("/0", "/99")) as bell:
        assert not await bell.answers()
        assert bell.refusal == (
            "Redis has no such database as REDIS_URL names: DB index is out of range"
        )


async def test_another_server_in_the_place_of_redis_is_named(postgres_server: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    web = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = web.sockets[0].getsockname()[1]
    async with web, Doorbell(f"redis://:word@127.0.0.1:{port}/0") as bell:
        assert not await bell.answers()
        assert bell.refusal == (
            "REDIS_URL leads to something that is not Redis: it answers 'HTTP/1.1 400 Bad Request'"
        )
    for scheme in ("redis", "rediss"):
        url = f"{scheme}://127.0.0.1:{urlsplit(postgres_server).port}/0"
        async with Doorbell(url) as bell:
            assert not await bell.answers()
            assert bell.refusal == "REDIS_URL leads to a PostgreSQL"


async def test_an_absence_is_no_refusal() -> None:
    async with Doorbell(f"redis://127.0.0.1:{ports.pick()}") as bell:
        assert not await bell.answers()
        assert bell.refusal is None
