"""One project's slow lists and reports: they wait for each other, and nobody else does."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from models.settings import Settings
from tests.integration.api.client import Api, bearer, path, problem
from tests.integration.api.conftest import Serve

SLOW = ("/v1/ledger", "/v1/usage")
CSV = {"accept": "text/csv"}


@pytest.fixture
async def api(settings: Settings, serving: Serve) -> AsyncIterator[Api]:
    """An API of few connections, which ends a long read after a second."""
    few = {"database_pool": 5, "read_timeout": timedelta(seconds=1)}
    async with serving(settings.model_copy(update=few)) as served:
        yield served


@pytest.mark.long
async def test_slow_reads_of_one_project_leave_the_others_alone(
    api: Api, database_url: str
) -> None:
    quiet = await api.another_project("quiet")
    job = await api.submit()
    waiting = asyncio.Event()
    with psycopg.connect(database_url) as hand:
        # Every read of it takes for ever.
        hand.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")

        async def attack(n: int) -> int:
            headers = CSV if n % 4 == 0 else {}
            answer = await api.client.get(SLOW[n % 2], headers=headers)
            waiting.set()
            if answer.status_code == 503:
                problem(answer, 503, "unavailable")
            else:
                assert "lists and reports" in str(problem(answer, 429, "rate_limited")["detail"])
            assert int(answer.headers["retry-after"]) >= 1
            return answer.status_code

        attacks = [asyncio.create_task(attack(n)) for n in range(120)]
        await waiting.wait()
        for _ in range(20):
            assert (await api.client.get("/v1/jobs", headers=quiet)).status_code == 200
            assert (await api.client.get("/v1/webhooks", headers=quiet)).status_code == 200
        assert (await api.client.get(path(job))).status_code == 200, "what is quick goes on"
        fresh = await api.another_project("fresh")
        assert (await api.client.get("/v1/jobs", headers=fresh)).status_code == 200
        assert not all(each.done() for each in attacks), "all of this was meanwhile"
        statuses = Counter(await asyncio.gather(*attacks))
    assert set(statuses) == {429, 503}
    for where in SLOW:
        assert (await api.client.get(where)).status_code == 200
    assert (await api.client.get("/v1/ledger", headers=CSV | bearer(api.key))).status_code == 200
