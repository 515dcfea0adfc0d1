"""One project's requests that are stuck in the database: they hold no more than half of the connections."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from models.settings import Settings
from tests.integration.api.client import Api, body, problem
from tests.integration.api.conftest import Serve

CONNECTIONS = 4
RULE = {"scope": "project", "window": "day", "limit": 1, "mode": "soft"}


@pytest.fixture
async def api(settings: Settings, serving: Serve) -> AsyncIterator[Api]:
    async with serving(settings.model_copy(update={"database_pool": CONNECTIONS})) as served:
        yield served


async def test_a_project_whose_requests_are_stuck_is_in_nobody_elses_way(
    api: Api, database_url: str
) -> None:
    quiet = await api.another_project("quiet")
    with psycopg.connect(database_url) as hand:
        # As a booking that goes on and on: whoever makes a budget waits for it.
        hand.execute(
            "SELECT FROM projects WHERE id = %s FOR KEY SHARE", [api.life.caller.project_id]
        )
        stuck = [
            asyncio.create_task(api.client.put("/v1/budgets", json=RULE))
            for _ in range(5 * CONNECTIONS)
        ]
        await _are_waiting(database_url, CONNECTIONS // 2)
        for _ in range(5):
            made = await api.client.post("/v1/jobs", json=body(), headers=quiet)
            assert made.status_code == 202
            canceled = await api.client.post(f"/v1/jobs/{made.json()['id']}/cancel", headers=quiet)
            assert canceled.status_code == 200
            assert (await api.client.put("/v1/budgets", json=RULE, headers=quiet)).is_success
        assert sum(each.done() for each in stuck) < len(stuck), "all of this was meanwhile"
        assert _waiting(database_url) <= CONNECTIONS // 2
    answers = await asyncio.gather(*stuck)
    for each in answers:
        if not each.is_success:
            said = problem(each, 503, "unavailable")
            assert said["retryable"] is True
            assert int(each.headers["retry-after"]) >= 1
    assert (await api.client.put("/v1/budgets", json=RULE)).is_success


async def _are_waiting(database_url: str, count: int) -> None:
    async with asyncio.timeout(20):
        while _waiting(database_url) < count:  # noqa: ASYNC110 - Postgres rings for no wait
            await asyncio.sleep(0.02)


def _waiting(database_url: str) -> int:
    """Count the requests that wait for the row in the database."""
    with psycopg.connect(database_url) as look:
        row = look.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])
