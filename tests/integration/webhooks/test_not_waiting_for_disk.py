"""What is done again after a crash of Postgres waits for no disk: here, for no standby that is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from psycopg import AsyncConnection

from models.images import records
from models.platform.vault import Vault
from models.webhooks import deliveries, destinations
from models.webhooks.deliveries import Tried
from tests.fixtures.making import Bench
from tests.fixtures.sending import (
    DELIVERED,
    EXHAUSTED,
    LATER,
    LEASE,
    PATIENCE,
    endpoint,
    finished,
    record,
    sending,
    states,
    take,
    wake,
)

JOB_URL = "https://receiver.example/job"
SOON = 5  # seconds; each statement takes milliseconds
MOMENT = 0.3
WRITES = b"SELECT pg_logical_emit_message(true, 'tests', '')"


@asynccontextmanager
async def standby_away(server: str) -> AsyncIterator[None]:
    """Let commits wait for a standby that is away. They wait in the same place for their own disk."""
    async with await AsyncConnection.connect(server, autocommit=True) as admin:

        async def waits() -> bool:
            try:
                await asyncio.wait_for(admin.execute(WRITES), MOMENT)
            except TimeoutError:
                return True
            return False

        try:
            await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await admin.execute("SELECT pg_reload_conf()")
            async with asyncio.timeout(SOON):
                while not (await waits() and await waits()):
                    pass
            yield
            assert await waits()
        finally:
            await admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("plain", [True, False])
async def test_deliveries_and_thumbnails(
    bench: Bench, vault: Vault, postgres_server: str, *, plain: bool
) -> None:
    await endpoint(bench, vault)
    ref = await bench.running(webhook_url=JOB_URL)
    await bench.receive(ref)
    assert await bench.succeed(ref)
    direct, project_id = bench.database.direct, bench.caller.project_id
    place = project_id, destinations.of_origin(project_id, JOB_URL)
    async with standby_away(postgres_server), asyncio.timeout(SOON):
        (here,) = await deliveries.wake_here(
            direct, vault, {place: 1}, free=9, lease=LEASE, cap=8, rate=100
        )
        (woken,) = await wake(bench)
        assert await take(replace(bench, plain=plain), vault, woken)
        tries = [(here.delivery_id, 1, DELIVERED), (*woken, LATER)]
        lines = [Tried(each, number, datetime.now(UTC), met) for each, number, met in tries]
        assert (await deliveries.record_plain(direct, PATIENCE, lines)).done == [True, True]
        await records.thumbnail_is(direct, ref.job_id, "made")
    assert sorted(await states(bench)) == [("delivered", 1), ("pending", 1)]
    (image,) = await bench.rows("SELECT thumbnail FROM images")
    assert image["thumbnail"] == "made"


async def test_a_place_that_goes_to_the_next(
    bench: Bench, vault: Vault, postgres_server: str
) -> None:
    for _ in range(2):
        await finished(bench, webhook_url=JOB_URL)
    (woken,) = await wake(bench, cap=1)
    assert await take(bench, vault, woken)
    tries = [Tried(*woken, datetime.now(UTC), DELIVERED)]
    async with standby_away(postgres_server), asyncio.timeout(SOON):
        written, had = await deliveries.hand_on(
            bench.database.direct, vault, tries, [True], free=9, lease=LEASE, cap=8, rate=100
        )
    assert (written.done, len(had)) == ([True], 1)


async def test_a_try_that_ends_a_delivery_waits(
    bench: Bench, vault: Vault, postgres_server: str
) -> None:
    _, woken = await sending(bench, vault)
    async with standby_away(postgres_server):
        recording = asyncio.create_task(record(bench, woken, EXHAUSTED))
        await asyncio.wait([recording], timeout=MOMENT)
        assert not recording.done()
    assert await recording == "exhausted"


async def test_what_a_job_costs_waits(bench: Bench, postgres_server: str) -> None:
    async with standby_away(postgres_server):
        submitting = asyncio.create_task(bench.submit())
        await asyncio.wait([submitting], timeout=MOMENT)
        assert not submitting.done()
    assert await bench.job(await submitting)
