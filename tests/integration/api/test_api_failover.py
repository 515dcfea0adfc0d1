"""Postgres fails over: a standby answers 503 to who would write, and whoever may write is found."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from deploy.local.servers import postgres
from deploy.local.servers.server import Server
from models.platform.db import Database, migrate
from tests.conftest import make_settings
from tests.fixtures import replicas
from tests.integration.api.client import Api, body, problem
from tests.integration.api.conftest import serve
from tests.integration.api.test_api_outages import assert_recovers


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Server]:
    with postgres.serve(tmp_path / "primary", durable=False) as server:
        migrate.migrate(server.url)
        yield server


@pytest.fixture
def standby(primary: Server, tmp_path: Path) -> Iterator[Server]:
    with replicas.following(primary, tmp_path / "standby") as server:
        yield server


@asynccontextmanager
async def on(url: str, redis: str, folder: Path, primary: Server) -> AsyncIterator[Api]:
    settings = make_settings(database_url=url, redis_url=redis, storage_url=str(folder / "images"))
    first = Database(make_settings(database_url=primary.url), ring=lambda _topic, _key: None)
    async with serve(settings, first) as running:
        await first.close()  # it made the project, which only a primary can
        yield running


async def has(server: Server, table: str, id_: UUID) -> None:
    """Wait until a row has reached a server."""
    async with asyncio.timeout(20):
        with psycopg.connect(server.url, autocommit=True) as connection:
            while not connection.execute(  # noqa: ASYNC110 - replication has no event
                f"SELECT FROM {table} WHERE id = %s".encode(), (id_,)
            ).fetchall():
                await asyncio.sleep(0.05)


@pytest.mark.long
async def test_while_a_standby_takes_over_nothing_is_written_and_then_everything(
    primary: Server, standby: Server, redis_server: str, tmp_path: Path
) -> None:
    url = replicas.both(standby, primary)
    migrate.migrate(url)
    async with (
        on(url, redis_server, tmp_path, primary) as finding,
        on(standby.url, redis_server, tmp_path, primary) as bound,
    ):
        await has(standby, "projects", bound.life.caller.project_id)
        assert (await bound.client.get("/v1/jobs")).status_code == 200
        await demand_absence(bound)
        await demand_absence(bound)
        # A replica answers all but writes: what is bound to it must not take the place of who works.
        assert (await bound.client.get("/readyz")).status_code == 503

        job = await finding.submit()
        await has(standby, "jobs", job)
        primary.kill()
        await demand_absence(finding)
        replicas.promote(standby)
        for api in (finding, bound):
            await assert_recovers(api)
            assert (await api.client.get("/readyz")).status_code == 200
        assert (await finding.job(job))["status"] == "queued"


async def demand_absence(api: Api) -> None:
    refused = await api.client.post("/v1/jobs", json=body())
    assert problem(refused, 503, "unavailable")["retryable"] is True
    assert int(refused.headers["retry-after"]) >= 1
