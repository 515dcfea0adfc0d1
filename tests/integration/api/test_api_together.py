"""Requests that come at once share statements, and each is answered as if it were alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from models.platform import together
from models.platform.together import Together
from models.settings import Settings
from tests.fixtures.making import PRICE
from tests.integration.api.client import Api, body, problem
from tests.integration.api.conftest import Serve

# What stops who makes a job in any project, and in any but one.
_PROJECTS: LiteralString = "SELECT FROM projects FOR UPDATE"
_LOUD: LiteralString = "SELECT FROM projects WHERE name <> 'quiet' FOR UPDATE"


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
    api: Api, database_url: str, locking: LiteralString, coming: int
) -> AsyncIterator[None]:
    """Hold a lock until so many requests stand in the lines of this process."""
    async with await psycopg.AsyncConnection.connect(database_url) as hand:
        await hand.execute(locking)
        yield
        await _come(api, coming)


async def _come(api: Api, coming: int) -> None:
    """Wait until so many requests stand in the lines."""
    async with asyncio.timeout(10):
        while _standing(api) < coming:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


def _standing(api: Api) -> int:
    """Count the requests whose question is under way, or the next."""
    readings, lines = api.state.readings, api.state.admissions._plain._lines  # noqa: SLF001 - nobody else asks
    kinds: list[Together[Any, Any]] = [*lines.values(), readings._whole, readings._versions]  # noqa: SLF001 - the same
    asked = [each for kind in kinds for each in (kind._waiting, kind._under_way)]  # noqa: SLF001 - the same
    return sum(len(askers.answers) for each in asked for askers in each.values())


async def _number(database_url: str, asked: LiteralString) -> int:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as look:
        row = await (await look.execute(asked)).fetchone()
    assert row is not None
    return int(row[0])


async def test_what_is_submitted_at_once_is_one_transaction(api: Api, database_url: str) -> None:
    async with _stopped(api, database_url, _PROJECTS, 30):
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
    async with _stopped(api, database_url, _PROJECTS, 30):
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
    asked = (api.client.post("/v1/jobs", json=body()) for _ in range(12))
    answers = await asyncio.gather(*asked)
    assert sorted(each.status_code for each in answers) == 5 * [202] + 7 * [402]
    held = "SELECT sum(held)::bigint FROM budget_windows"
    assert await _number(database_url, held) == 6 * PRICE


async def test_another_project_waits_for_none_of_it(api: Api, database_url: str) -> None:
    quiet = await api.another_project("quiet")
    async with _stopped(api, database_url, _LOUD, 9):
        stuck = [asyncio.create_task(api.client.post("/v1/jobs", json=body())) for _ in range(9)]
        await _come(api, 9)
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
    async with _stopped(api, database_url, "LOCK TABLE jobs", 24):
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
