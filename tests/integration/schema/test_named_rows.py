"""What is asked for by its name is found by its name: however much else is in flight, or waits.

The statistics know of none of it, as they do beside a long history: each index of what is in flight looks
as if there were nothing in it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from models import jobs
from models.accounts.callers import Caller
from models.jobs import Dispatch, Kept, Received, agenda
from models.jobs.attempts import Ref
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.webhooks import deliveries
from models.webhooks.deliveries import Tried, TryResult
from tests.bench.rows.growing import fill
from tests.conftest import make_project, make_settings
from tests.fixtures.databases import Databases
from tests.fixtures.making import DAY, IMAGE, KEPT, LEASE, NOTHING
from tests.fixtures.plans import Explained, nodes, planned_once
from tests.fixtures.sending import DELIVERED, LATER, PATIENCE

_HISTORY, _OTHERS = 6_000, 1_000
_ASKED = 20
# Each step of a plan may look at each of them, and at a few beside it; to look at all others for each of
# them would take 20,000 rows.
_MOST = 300 * _ASKED
_PLACES = 5  # destinations in which they are
_PLACES_FREE = 20_000  # for deliveries, with eighty workers; a share of them is a multiple of it

_JOBS = """
    INSERT INTO jobs (id, project_id, key_id, rank, status, phase, fence, attempt, model, input,
           input_hash, priority, queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate,
           held, charged, keep_until, waiting_reason, run_after, lease_until, worker)
    SELECT gen_random_uuid(), project_id, id, now(), status, phase, 1, (status = 'running')::int,
           'bytedance/seedream-5-0-lite-preview', '{"prompt": "a red bicycle"}', sha256(n::text::bytea),
           'standard', now() + interval '1 day', 5, 182000, 'retry', 91000,
           CASE phase WHEN 'keep' THEN 0 ELSE 91000 END, CASE phase WHEN 'keep' THEN 91000 ELSE 0 END,
           CASE phase WHEN 'keep' THEN now() + interval '1 day' END,
           CASE status WHEN 'queued' THEN 'queue' END, CASE status WHEN 'queued' THEN now() END,
           CASE WHEN status <> 'queued' THEN now() + interval '1 min' END,
           CASE status WHEN 'running' THEN 'worker-1' END
      FROM api_keys, generate_series(1, %(others)s::int) n,
           (VALUES ('queued', 'call'), ('released', 'call'), ('running', 'call'), ('running', 'keep'))
           AS kinds (status, phase)
"""
_CALLS = """
    INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix, hold,
           outcome, charge, credits, finished_at, provider_url)
    SELECT id, id, 1, id, 'worker-1', id || ':1', 'simulato', 91000,
           CASE WHEN paid THEN 'image' END, CASE WHEN paid THEN 'settled' ELSE 'unknown' END,
           CASE WHEN paid THEN 91000 END, CASE WHEN paid THEN now() END,
           CASE WHEN paid THEN 'https://cdn.example/1.jpg' END
      FROM (SELECT *, phase = 'keep' AS paid FROM jobs WHERE status = 'running') running
"""
_DELIVERIES = """
    UPDATE deliveries SET state = CASE WHEN sent THEN 'sending' ELSE 'pending' END, finished_at = NULL,
           lane = CASE WHEN sent THEN 'url:busy' WHEN n <= %(asked)s * 2 THEN 'url:' || n / 2 %% %(places)s
                       ELSE 'url:elsewhere' END,
           next_at = CASE WHEN NOT sent THEN now() - n * interval '1 min' END,
           lease_until = CASE WHEN sent THEN now() + interval '1 min' END
      FROM (SELECT id, n, n %% 2 = 0 AS sent FROM (
                   SELECT id, row_number() OVER (ORDER BY id DESC) AS n FROM deliveries) newest
             WHERE n <= 2 * %(others)s) chosen WHERE chosen.id = deliveries.id
"""
_OF_FLIGHT = {"ix_jobs_lease_until", "ix_deliveries_lease", "ix_attempts_unknown"}
_QUIET = "ALTER TABLE {} SET (autovacuum_enabled = off)"


@dataclass(frozen=True)
class Ground:
    """A database with a history, and much in flight that came since it was last analysed."""

    database: Database
    presenter: Presenter
    caller: Caller
    url: str

    def some(self, query: str) -> list[UUID]:
        """Return a few ids."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(f"{query} LIMIT {_ASKED}".encode()).fetchall()
        return [row[0] for row in found]


@pytest.fixture(scope="module")
async def ground(databases: Databases) -> AsyncIterator[Ground]:
    with databases.own() as url:
        settings = make_settings(database_url=url)
        database = Database(settings, ring=lambda _topic, _key: None, pool=1)
        vault = Vault.of(settings)
        caller, _ = await make_project(database, vault, "a")
        await asyncio.to_thread(_fill, url)
        yield Ground(database, Presenter(settings.public_url, vault), caller, url)
        await database.close()


@pytest.fixture(scope="module")
async def empty(databases: Databases) -> AsyncIterator[Database]:
    with databases.own() as url:
        settings = make_settings(database_url=url)
        database = Database(settings, ring=lambda _topic, _key: None, pool=1)
        yield database
        await database.close()


def _fill(url: str) -> None:
    fill(url, _HISTORY)
    asked = {"others": _OTHERS, "asked": _ASKED, "places": _PLACES}
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("jobs", "attempts", "deliveries"):
            connection.execute(_QUIET.format(table).encode())
        for statement in (_JOBS, _CALLS, _DELIVERIES):
            connection.execute(statement.encode(), asked)


async def _start(on: Ground, direct: Explained) -> int:
    named = [(each, 1) for each in on.some("SELECT id FROM jobs WHERE status = 'released'")]
    begun = await jobs.start_plain(
        direct, named, start_id=uuid4(), worker="worker-2", key_prefix="simulato", lease=LEASE,
        typical_call=NOTHING,
    )  # fmt: skip
    return len(begun)


def _refs(on: Ground, phase: str) -> list[Ref]:
    running = f"SELECT id FROM jobs WHERE status = 'running' AND phase = '{phase}'"  # noqa: S608 - ours
    return [Ref(each, 1, 1, each) for each in on.some(running)]


async def _renew(on: Ground, direct: Explained) -> int:
    return len(await jobs.renew(direct, _refs(on, "call"), LEASE))


async def _receive(on: Ground, direct: Explained) -> int:
    images = [Received(each, IMAGE) for each in _refs(on, "call")]
    found = await jobs.receive_several(direct, on.caller.project_id, images, lease=LEASE, ttl=DAY)
    return sum(found.values())


async def _succeed(on: Ground, direct: Explained) -> int:
    kept = [Kept(each, KEPT) for each in _refs(on, "keep")]
    ended, _ = await jobs.succeed_several(direct, on.presenter, on.caller.project_id, kept)
    return len(ended)


async def _take_back(on: Ground, direct: Explained) -> int:
    released = on.some("SELECT id FROM jobs WHERE status = 'released'")
    return await jobs.hand_back(direct, [Dispatch(each, 1) for each in released])


def _sending(on: Ground) -> list[tuple[UUID, int]]:
    return [(each, 1) for each in on.some("SELECT id FROM deliveries WHERE state = 'sending'")]


async def _take(on: Ground, direct: Explained) -> int:
    vault = on.presenter.vault
    return len(await deliveries.take_plain(direct, vault, _sending(on), LEASE))


async def _record(on: Ground, direct: Explained, tried: TryResult) -> int:
    lines = [Tried(*each, datetime.now(UTC), tried) for each in _sending(on)]
    return sum((await deliveries.record_plain(direct, PATIENCE, lines)).done)


async def _delivered(on: Ground, direct: Explained) -> int:
    return await _record(on, direct, DELIVERED)


async def _failed(on: Ground, direct: Explained) -> int:
    return await _record(on, direct, LATER)


async def _put_back(on: Ground, direct: Explained) -> int:
    await deliveries.hand_back(direct, _sending(on))
    return _ASKED


Act = Callable[[Ground, Explained], Awaitable[int]]
_NAMED_ONCE: list[Act] = [_start, _receive, _succeed, _take, _delivered, _failed]
_ACTS = [*_NAMED_ONCE, _renew, _take_back, _put_back]


@pytest.mark.parametrize("act", _ACTS, ids=lambda act: act.__name__.strip("_"))
async def test_what_is_named_is_found_by_its_name(ground: Ground, act: Act) -> None:
    done, looked_at = await _explained(ground, act)
    assert done == _ASKED
    assert looked_at < _MOST


async def _wake_here(on: Ground, direct: Explained) -> int:
    wanted = {(on.caller.project_id, f"url:{n}"): _ASKED // _PLACES for n in range(_PLACES)}
    woken = await deliveries.wake_here(
        direct, on.presenter.vault, wanted, free=_PLACES_FREE, lease=LEASE, cap=_ASKED, rate=10_000
    )
    return len(woken)


async def _hand_on(on: Ground, direct: Explained) -> int:
    places = "SELECT id FROM deliveries WHERE state = 'sending' ORDER BY id"
    move = "UPDATE deliveries SET lane = %(lane)s WHERE id = %(id)s"
    ended = on.some(places)
    for n, each in enumerate(ended):
        await direct.run(move.encode(), {"lane": f"url:{n % _PLACES}", "id": each})
    tries = [Tried(each, 1, datetime.now(UTC), DELIVERED) for each in ended]
    direct.nodes.clear()
    written, had = await deliveries.hand_on(
        direct, on.presenter.vault, tries, [True] * _ASKED, free=_PLACES_FREE, lease=LEASE, cap=_ASKED,
        rate=10_000,
    )  # fmt: skip
    assert all(written.done)
    return len(had)


_WOKEN_ONCE: list[Act] = [_wake_here, _hand_on]


async def _wake(_: Ground, direct: Explained) -> int:
    woken = await deliveries.wake(direct, _PLACES_FREE, LEASE, cap=_ASKED, rate=10_000, most=_ASKED)
    return len(woken.due)


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize("act", [*_WOKEN_ONCE, _wake], ids=lambda act: act.__name__.strip("_"))
async def test_what_is_due_in_a_destination_is_found_whatever_waits_elsewhere(
    ground: Ground, act: Act, *, known: bool
) -> None:
    done, looked_at = await _explained(ground, act, analysed=known)
    assert done == _ASKED
    assert looked_at < _MOST


@pytest.mark.parametrize(
    "act", [*_NAMED_ONCE, *_WOKEN_ONCE], ids=lambda act: act.__name__.strip("_")
)
async def test_a_plan_that_was_made_while_all_was_empty_finds_by_name_too(
    ground: Ground, empty: Database, act: Act
) -> None:
    """As a process plans that was started before the first job came."""
    _, direct = await _carried_out(ground, act)
    async with empty.transaction() as tx:
        plans = [await planned_once(tx, *each) for each in direct.statements]
    found = [each for plan in plans for each in nodes(plan)]
    assert [each for each in found if each.reads_history] == []
    if act in _NAMED_ONCE:  # the others count what is in flight
        assert {each.index for each in found} & _OF_FLIGHT == set()


async def _to_do(_: Ground, direct: Explained) -> int:
    return len(await agenda.to_do(direct, lease=LEASE, typical_call=NOTHING))


async def _look(_: Ground, direct: Explained) -> int:
    return (await jobs.look(direct, make_settings())).calls_wait


_ASK_WHAT_WAITS: list[Act] = [_to_do, _look, _receive, _succeed]


@pytest.mark.parametrize("act", _ASK_WHAT_WAITS, ids=lambda act: act.__name__.strip("_"))
async def test_whether_anything_waits_is_one_look_however_much_does(
    ground: Ground, act: Act
) -> None:
    with suppress(_TakenBack):
        async with ground.database.transaction() as tx:
            direct = Explained(tx, once=act in _NAMED_ONCE)
            assert await act(ground, direct)
            read = {each.index: each.rows for each in direct.nodes}
            raise _TakenBack
    assert "ix_jobs_waits" in read
    assert read.get("ix_jobs_backlog", 0) == 0


async def _explained(ground: Ground, act: Act, *, analysed: bool = False) -> tuple[int, float]:
    done, direct = await _carried_out(ground, act, analysed=analysed)
    return done, direct.looked_at


async def _carried_out(
    ground: Ground, act: Act, *, analysed: bool = False
) -> tuple[int, Explained]:
    """Return what an act says, and who knows what it looked at; what it does is rolled back."""
    with suppress(_TakenBack):
        async with ground.database.transaction() as tx:
            if analysed:
                await tx.execute(text("ANALYZE deliveries"))
            direct = Explained(tx, once=act in (*_NAMED_ONCE, *_WOKEN_ONCE))
            done = await act(ground, direct)
            raise _TakenBack
    return done, direct


class _TakenBack(Exception):
    """Roll back what was only done to be looked at."""
