"""Requests that come at once share statements, and each is answered as if it were alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg
import pytest

from models.platform import together
from models.settings import Settings
from tests.fixtures.making import PRICE
from tests.integration.api.client import Api, body, problem
from tests.integration.api.conftest import Serve

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
async def api(
    settings: Settings, serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    """An API of its own, whose tables a test may lock for long: no question overtakes another."""
    monkeypatch.setattr(together, "_SLOW", 60.0)
    async with serving(settings) as served:
        yield served


@asynccontextmanager
async def _stopped(
    database_url: str, locking: LiteralString, waiting: int = 1
) -> AsyncIterator[None]:
    """Hold a lock until so many connections wait for it, and what has come by then is sent."""
    async with await psycopg.AsyncConnection.connect(database_url) as hand:
        await hand.execute(locking)
        yield
        async with asyncio.timeout(10):
            while await _number(database_url, _WAITING) < waiting:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)  # for the others to come


async def _number(database_url: str, asked: LiteralString) -> int:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as look:
        row = await (await look.execute(asked)).fetchone()
    assert row is not None
    return int(row[0])


async def test_what_is_submitted_at_once_is_one_transaction(api: Api, database_url: str) -> None:
    async with _stopped(database_url, "SELECT FROM projects FOR UPDATE"):
        asked = [
            asyncio.create_task(
                api.client.post("/v1/jobs", json=body(customer=f"c{n}", metadata={"n": str(n)}))
            )
            for n in range(30)
        ]
    made = [each.json() for each in await asyncio.gather(*asked)]
    assert len({each["id"] for each in made}) == 30
    for n, each in enumerate(made):
        assert (each["customer"], each["metadata"]) == (f"c{n}", {"n": str(n)})
        assert (await api.client.get(f"/v1/jobs/{each['id']}")).json() == each
    transactions = await _number(database_url, "SELECT count(DISTINCT xmin::text) FROM jobs")
    assert transactions == 2, "the first, and all that came while it was stopped"


async def test_among_those_at_once_each_key_makes_one_job(api: Api, database_url: str) -> None:
    async with _stopped(database_url, "SELECT FROM projects FOR UPDATE"):
        asked = [
            asyncio.create_task(
                api.client.post(
                    "/v1/jobs",
                    json=body(),
                    headers={"idempotency-key": f"key-{n % 3}"},
                )
            )
            for n in range(30)
        ]
    answers = await asyncio.gather(*asked)
    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 3
    fresh = [each for each in answers if "idempotent-replayed" not in each.headers]
    assert len(fresh) == 3


async def test_of_those_at_once_as_many_are_accepted_as_a_budget_has_room_for(
    api: Api, database_url: str
) -> None:
    rule = {"scope": "project", "window": "day", "limit": 6 * PRICE, "mode": "hard"}
    assert (await api.client.put("/v1/budgets", json=rule)).is_success
    assert (await api.client.post("/v1/jobs", json=body())).status_code == 202
    async with _stopped(database_url, "SELECT FROM projects FOR UPDATE"):
        asked = [asyncio.create_task(api.client.post("/v1/jobs", json=body())) for _ in range(12)]
    answers = await asyncio.gather(*asked)
    assert sorted(each.status_code for each in answers) == 5 * [202] + 7 * [402]
    held = "SELECT sum(held)::bigint FROM budget_windows"
    assert await _number(database_url, held) == 6 * PRICE


async def test_another_project_waits_for_none_of_it(api: Api, database_url: str) -> None:
    quiet = await api.another_project("quiet")
    locking = f"SELECT FROM projects WHERE id = '{api.life.caller.project_id}' FOR UPDATE"
    async with _stopped(database_url, locking):
        stuck = [asyncio.create_task(api.client.post("/v1/jobs", json=body())) for _ in range(9)]
        await asyncio.sleep(0.2)
        made = await api.client.post("/v1/jobs", json=body(), headers=quiet)
        assert made.status_code == 202
        assert not any(each.done() for each in stuck)
    assert {each.status_code for each in await asyncio.gather(*stuck)} == {202}


async def test_of_those_read_at_once_each_is_shown_to_its_own_project_alone(
    api: Api, database_url: str
) -> None:
    other = await api.another_project("other")
    mine = [(await api.client.post("/v1/jobs", json=body())).json()["id"] for _ in range(5)]
    theirs = (await api.client.post("/v1/jobs", json=body(), headers=other)).json()["id"]
    absent = f"job_{'0' * 26}"
    asked: list[tuple[str, dict[str, str]]] = [(each, {}) for each in (*mine, theirs, absent)]
    asked += [(each, other) for each in (mine[0], theirs)]
    etags = [(await api.client.get(f"/v1/jobs/{each}")).headers["etag"] for each in mine]
    async with _stopped(database_url, "LOCK TABLE jobs", waiting=2):  # whole, and by version
        reading = [
            asyncio.create_task(api.client.get(f"/v1/jobs/{each}", headers=who))
            for each, who in (*asked, *asked)
        ]
        polling = [
            asyncio.create_task(api.client.get(f"/v1/jobs/{each}", headers={"if-none-match": etag}))
            for each, etag in zip((*mine, theirs), (*etags, etags[0]), strict=True)
        ]
    answers = await asyncio.gather(*reading)
    for (job, who), each in zip((*asked, *asked), answers, strict=True):
        if job == absent or (job == theirs) != (who is other):
            problem(each, 404, "not_found")
        else:
            assert (each.status_code, each.json()["id"]) == (200, job)
    assert [each.status_code for each in await asyncio.gather(*polling)] == [*[304] * 5, 404]


async def test_nobody_reads_what_was_before_they_asked(api: Api) -> None:
    async def make_and_read() -> None:
        made = await api.client.post("/v1/jobs", json=body())
        read = await api.client.get(f"/v1/jobs/{made.json()['id']}")
        assert (read.status_code, read.json()["status"]) == (200, "queued")
        await api.client.post(f"/v1/jobs/{made.json()['id']}/cancel")
        read = await api.client.get(f"/v1/jobs/{made.json()['id']}")
        assert read.json()["status"] == "canceled"

    await asyncio.gather(*(make_and_read() for _ in range(40)))
