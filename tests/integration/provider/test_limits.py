"""The provider's limit is found by what it admits; time passes by moving what the database remembers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text

from deploy.simulator import Running
from models.accounts.callers import Caller
from models.jobs.view import Presenter
from models.platform.db import Database, Transaction
from models.platform.vault import Vault
from models.provider import limits
from models.settings import Settings
from tests.conftest import make_project, make_settings
from tests.fixtures import spending
from tests.fixtures.making import Bench
from tests.fixtures.spending import House

SETTINGS = make_settings(provider_limit_floor=4, provider_limit=256)
HIDDEN = 40  # calls in flight that the provider of these tests admits

_JOBS = text("""
    INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority, estimate,
                      queue_expires_at, max_attempts, max_cost, on_unknown_charge)
    SELECT gen_random_uuid(), :project, :key, now(), 'm', '{}', '', 'standard', 1,
           now() + interval '1 day', 10, 100, 'retry' FROM generate_series(1, :n)
    RETURNING id
""")
_SEND = text("""
    WITH sent AS (
        UPDATE jobs SET status = 'running', attempt = attempt + 1, fence = fence + 1,
                        lease_until = now() + interval '1 day'
         WHERE id = ANY(:ids) RETURNING id, attempt
    )
    INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix, hold)
    SELECT gen_random_uuid(), id, attempt, gen_random_uuid(), 'w', id || ':' || attempt, '', 1 FROM sent
""")
_ANSWER = text("""
    WITH answered AS (
        UPDATE attempts SET finished_at = now(), http_status = :status, charge = 'none',
                            outcome = CASE :status WHEN 200 THEN 'image' ELSE 'try_later' END
         WHERE job_id = ANY(:ids) AND finished_at IS NULL RETURNING job_id
    )
    UPDATE jobs SET status = 'queued', waiting_reason = 'queue', lease_until = NULL
      FROM answered WHERE jobs.id = answered.job_id RETURNING jobs.id, jobs.attempt
""")
_TIME = (
    "UPDATE attempts SET sent_at = sent_at - :s, finished_at = finished_at - :s",
    "UPDATE limits SET changed_at = changed_at - :s, used_at = used_at - :s",
    "UPDATE limits SET refused_at = refused_at - :s",
)


@dataclass
class Line:
    """Calls on their way, and a provider that admits so many at once, by a clock of whole seconds."""

    bench: Bench
    hidden: int = HIDDEN
    takes: int = 5  # seconds that a call takes
    settings: Settings = SETTINGS
    idle: list[UUID] = field(default_factory=list)
    ages: dict[UUID, int] = field(default_factory=dict)  # of what was admitted
    sent: int = 0
    refused: int = 0
    limit: int = 0

    async def fill(self, jobs: int = 300) -> None:
        """Make jobs that wait."""
        owner = {"project": self.bench.caller.project_id, "key": self.bench.caller.key_id}
        found = await self.bench.do(lambda tx: tx.scalars(_JOBS, owner | {"n": jobs}))
        self.idle = list(found)

    async def send(self, count: int) -> list[UUID]:
        """Send calls; returns those that the provider did not admit, and has not answered yet."""
        ids = [self.idle.pop() for _ in range(count)]
        await self.bench.do(lambda tx: tx.execute(_SEND, {"ids": ids}))
        room = max(self.hidden - len(self.ages), 0)
        self.ages |= dict.fromkeys(ids[:room], 0)
        self.sent += count
        return ids[room:]

    async def answer(self, ids: list[UUID]) -> None:
        """Let the provider answer admitted calls, with images."""
        await self.bench.do(lambda tx: tx.execute(_ANSWER, {"ids": ids, "status": 200}))
        self.idle += ids
        for each in ids:
            del self.ages[each]

    async def refuse(self, id_: UUID) -> int:
        """Let the provider answer one call with 429, and the worker write it down; returns the limit."""
        self.refused += 1

        async def write(tx: Transaction) -> int:
            job = (await tx.execute(_ANSWER, {"ids": [id_], "status": 429})).one()
            return await limits.refused(tx, self.settings, job.id, job.attempt)

        limit = await self.bench.do(write)
        self.idle.insert(0, id_)
        return limit

    async def wait(self, seconds: float) -> None:
        """Let time pass for what the database remembers."""
        for statement in _TIME:
            await self.bench.run(statement.replace(":s", f"interval '{seconds} s'"))

    async def calls(self, settings: Settings = SETTINGS) -> int:
        """Ask how many may be in flight, as each turn that dispatches does."""
        self.limit = await self.bench.do(partial(limits.calls, settings=settings))
        return self.limit

    async def use(self) -> None:
        """Have as many calls in flight as may be, all admitted."""
        self.hidden = 1_000
        await self.send(await self.calls() - len(self.ages))
        await self.calls()

    async def second(self) -> None:
        """Live through one second: what is over is answered, and what may be sent is sent."""
        await self.wait(1)
        self.ages = {id_: age + 1 for id_, age in self.ages.items()}
        await self.answer([id_ for id_, age in self.ages.items() if age >= self.takes])
        while (free := await self.calls() - len(self.ages)) > 0:
            for each in await self.send(free):
                await self.refuse(each)


@pytest.fixture
async def line(database: Database, presenter: Presenter, caller: Caller) -> Line:
    made = Line(Bench(database, presenter, caller))
    await made.fill()
    return made


async def test_a_hidden_limit_is_found_used_and_followed(line: Line) -> None:
    for _ in range(60):
        await line.second()
    line.sent = line.refused = 0
    in_flight = []
    for _ in range(60):
        await line.second()
        in_flight.append(len(line.ages))
    assert line.refused / line.sent < 0.02
    assert sum(in_flight) / len(in_flight) >= 0.9 * HIDDEN
    assert max(in_flight) <= HIDDEN
    line.hidden = 10
    for _ in range(10):
        await line.second()
    assert 9 <= line.limit <= 10


async def test_a_limit_that_drops_under_long_calls_is_followed_as_they_end(line: Line) -> None:
    line.takes = 45
    for _ in range(60):
        await line.second()
    assert line.limit in {39, 40}
    line.hidden, line.refused = 10, 0
    lowest = line.limit
    for _ in range(60):
        await line.second()
        lowest = min(lowest, line.limit)
    assert (lowest, line.limit) == (9, 9)
    assert line.refused <= 30  # at most one for each call that had to end


async def test_it_begins_at_the_floor_and_doubles_while_it_is_used_up_to_the_ceiling(
    line: Line,
) -> None:
    seen = []
    for _ in range(8):
        await line.use()
        seen.append(line.limit)
        await line.wait(5)
    assert seen == [4, 8, 16, 32, 64, 128, 256, 256]


async def test_it_doubles_once_in_a_window(line: Line) -> None:
    await line.use()
    await line.wait(4)
    assert await line.calls() == 4
    await line.wait(2)
    assert [await line.calls(), await line.calls()] == [8, 8]


async def test_what_is_not_used_does_not_grow(line: Line) -> None:
    line.hidden = 1_000
    await line.calls()
    await line.send(2)
    for _ in range(4):
        await line.wait(60)
        assert await line.calls() == 4


async def test_a_burst_comes_down_to_what_was_admitted_whatever_the_order(line: Line) -> None:
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 64)")
    over = await line.send(64)
    assert len(over) == 24
    await asyncio.gather(*(line.refuse(each) for each in over))
    assert (await look(line)).calls == HIDDEN - 1


async def test_calls_that_end_while_a_burst_is_refused_were_admitted_all_the_same(
    line: Line,
) -> None:
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 64)")
    over = await line.send(64)
    for each in over:
        if line.ages:
            await line.answer([next(iter(line.ages))])
        await line.refuse(each)
    assert (await look(line)).calls == HIDDEN - 1


async def test_a_call_that_took_the_place_of_another_does_not_count_beside_it(line: Line) -> None:
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 41)")
    (slow,) = await line.send(41)
    for _ in range(10):
        await line.answer([next(iter(line.ages))])
        assert await line.send(1) == []
    assert await line.refuse(slow) == HIDDEN - 1


async def test_what_had_been_dispatched_before_the_fall_tells_nothing_new(line: Line) -> None:
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 64)")
    for each in await line.send(HIDDEN + 1):
        assert await line.refuse(each) == HIDDEN - 1
    for each in await line.send(20):
        assert await line.refuse(each) == HIDDEN - 1


async def test_an_old_429_tells_nothing_new(line: Line) -> None:
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 64)")
    late, *others = await line.send(64)
    for each in others:
        await line.refuse(each)
    await line.wait(45)
    await line.answer(list(line.ages)[:30])
    assert await line.refuse(late) == HIDDEN - 1


async def test_calls_that_began_long_ago_count_as_long_as_any_may_take(line: Line) -> None:
    line.settings = make_settings(
        provider_limit_floor=4, attempt_timeout=60.0, attempt_timeout_large=5.0
    )
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 64)")
    await line.send(HIDDEN)
    await line.wait(59)
    (over,) = await line.send(1)
    assert await line.refuse(over) == HIDDEN - 1


async def test_the_floor_holds_when_little_is_in_flight(line: Line) -> None:
    line.hidden = 1
    for _ in range(3):
        for each in await line.send(await line.calls() - len(line.ages)):
            assert await line.refuse(each) == 4


async def test_after_a_429_it_grows_by_one_when_none_has_come_for_a_while(line: Line) -> None:
    await line.bench.run("INSERT INTO limits (id, calls, slow_start) VALUES (1, 10, false)")
    await line.use()
    await line.wait(29)
    assert await line.calls() == 10
    await line.wait(2)
    assert [await line.calls(), await line.calls()] == [11, 11]
    await line.use()
    await line.wait(20)
    line.hidden = len(line.ages)
    (over,) = await line.send(1)
    await line.refuse(over)
    assert (await look(line)).calls == 10
    await line.wait(29)
    assert await line.calls() == 10
    await line.wait(2)
    assert await line.calls() == 11


async def test_the_429_ends_slow_start_for_good(line: Line) -> None:
    await line.use()
    line.hidden = 0
    (over,) = await line.send(1)
    await line.refuse(over)
    await line.use()
    await line.wait(10)
    assert await line.calls() == 4
    await line.wait(25)
    assert await line.calls() == 5


async def test_what_was_found_is_remembered_within_the_bounds_of_today(line: Line) -> None:
    await line.bench.run("INSERT INTO limits (id, calls) VALUES (1, 100)")
    assert await line.calls() == 100
    assert await line.calls(make_settings(provider_limit=32)) == 32
    assert await line.calls(make_settings(provider_limit_floor=128)) == 128
    assert await line.calls(make_settings(provider_limit_floor=9, provider_limit=8)) == 8


async def test_an_image_that_is_being_kept_takes_no_place(line: Line) -> None:
    await line.use()
    await line.bench.run("UPDATE jobs SET phase = 'keep' WHERE status = 'running'")
    found = await look(line)
    assert (found.calls, found.in_flight, found.slow_start) == (4, 0, True)


async def look(line: Line) -> limits.LimitState:
    return await line.bench.do(partial(limits.read, settings=SETTINGS))


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    ours = {"provider_limit_floor": 2, "retry_base": 0.0}
    async with spending.opened(settings, database, caller, provider, **ours) as opened:
        yield opened


async def test_a_worker_that_meets_the_limit_says_so_and_the_job_succeeds(house: House) -> None:
    await house.bench.run("INSERT INTO limits (id, calls) VALUES (1, 20)")
    (made,) = await house.spend("429, ok")
    assert (await house.bench.job(made))["status"] == "succeeded"
    (row,) = await house.bench.rows("SELECT calls, slow_start, refused_at FROM limits")
    assert (row["calls"], row["slow_start"]) == (2, False)
    assert row["refused_at"] is not None


async def test_a_call_that_succeeds_writes_nothing_about_the_limit(house: House) -> None:
    await house.bench.run("INSERT INTO limits (id, calls) VALUES (1, 20)")
    before = await house.bench.rows("SELECT *, xmin FROM limits")
    await house.spend("ok", "moderation_400", "500, ok")
    assert await house.bench.rows("SELECT *, xmin FROM limits") == before


async def test_what_one_project_alone_is_refused_lowers_the_limit_of_nobody_else(
    house: House, vault: Vault
) -> None:
    caller, _ = await make_project(house.bench.database, vault, "other")
    other = replace(house, bench=Bench(house.bench.database, house.bench.presenter, caller))

    async def limit() -> int:
        found = await house.bench.do(lambda tx: limits.read(tx, house.settings))
        return found.calls

    await house.bench.run("INSERT INTO limits (id, calls) VALUES (1, 40)")
    await other.spend("ok", "ok")
    hostile = [await house.submit("429") for _ in range(3)]
    await house.work()
    assert await limit() == 40
    (known,) = await house.bench.rows("SELECT slow_start, refused_at FROM limits")
    assert known == {"slow_start": False, "refused_at": None}, "and it may grow by one as ever"
    await other.submit("429, ok")
    await house.work()
    assert await limit() < 40, "two projects have met it"
    for each in hostile:
        await house.bench.cancel(each)


async def test_what_a_project_is_refused_while_nobody_else_calls_is_the_limit(house: House) -> None:
    await house.bench.run("INSERT INTO limits (id, calls) VALUES (1, 40)")
    job = await house.submit("429, ok")
    await house.work()
    assert (await house.bench.do(lambda tx: limits.read(tx, house.settings))).calls < 40
    await house.bench.cancel(job)
