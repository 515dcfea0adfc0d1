"""Restored from a backup: what was paid since is booked, and nothing of it is paid again."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from deploy.simulator import Running
from models import ids
from models.accounts.callers import Caller
from models.errors import Misconfigured
from models.jobs.charges.restoring import Call, recall
from models.money import budgets
from models.money.budgets import Rule
from models.platform.db import Database, Transaction
from models.provider import pauses
from models.settings import Settings, inherited
from tests.conftest import SECRET
from tests.fixtures import spending
from tests.fixtures.making import IMAGE
from tests.fixtures.spending import FREE, HOUR, KEY, MODEL, PRICE, House
from worker.provider import AccountUnavailable
from worker.restore import recalling
from worker.restore.recalling import Recalled

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

ROOT = Path(__file__).parents[3]
PAID = ("failed", "paid_without_image")


@dataclass
class Backup:
    """A house, and a copy of its tables in another schema."""

    house: House
    tables: list[str]

    async def make(self) -> None:
        """Copy every table as it is now."""

        async def copy(tx: Transaction) -> None:
            await tx.execute(text("CREATE SCHEMA backup"))
            for table in self.tables:
                await tx.execute(text(f"CREATE TABLE backup.{table} AS TABLE public.{table}"))

        await self.house.bench.do(copy)

    async def restore(self) -> None:
        """Put every table back two hours later, and pause everything, an hour ago."""

        async def put(tx: Transaction) -> None:
            await tx.execute(text("SET LOCAL session_replication_role = replica"))
            await tx.execute(text(f"TRUNCATE {', '.join(self.tables)}"))
            for table in self.tables:
                await tx.execute(
                    text(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE backup.{table}")
                )
            await tx.execute(text("UPDATE jobs SET created_at = created_at - interval '2 h'"))
            await tx.execute(text("UPDATE events SET created_at = created_at - interval '2 h'"))
            await pauses.pause(tx, "all")
            await tx.execute(text("UPDATE pauses SET paused_at = paused_at - interval '1 h'"))

        await self.house.bench.do(put)
        await self.house.age(2 * HOUR)

    async def recall(self) -> Recalled:
        """Book what was paid since, and audit the books."""
        found = await recalling.recall(self.house.reader)
        assert await self.house.bench.audit() == []
        return found

    async def resume(self) -> None:
        """Let calls begin again, and make all that may run."""
        await self.house.bench.do(lambda tx: pauses.resume(tx, "all"))
        while await self.house.work():
            pass

    async def work(self) -> None:
        """Make all that may run."""
        while await self.house.work():
            pass

    async def call(self, job_id: UUID, number: int = 1) -> None:
        """Make a job's paid call whose worker will not tell."""
        body = {"model": MODEL, "prompt": "a red bicycle [sim: ok]"}
        name = f"{ids.text(ids.JOB, job_id)}:{number}"
        await self.house.context.provider.generate(
            body, client_request_id=name, timeout=timedelta(seconds=10)
        )

    async def end(self, job_id: UUID) -> tuple[str, str | None]:
        """Return a job's state, and the code of its error."""
        job = await self.house.bench.job(job_id)
        return job["status"], (job["error"] or {}).get("code")

    async def charges(self, job_id: UUID) -> list[tuple[int, str, int | None]]:
        """Return number, charge and credits of a job's attempts."""
        found = await self.house.bench.attempts(job_id)
        return [(each["number"], each["charge"], each["credits"]) for each in found]

    @property
    def paid(self) -> int:
        """How many calls the provider was paid for."""
        return sum(1 for call in self.house.provider.world.calls.all if call.charged)


@pytest.fixture
async def backup(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[Backup]:
    async with spending.opened(settings, database, caller, provider) as house:
        rows = await house.bench.rows(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            "AND tablename <> 'alembic_version'"
        )
        yield Backup(house, [row["tablename"] for row in rows])


async def test_a_job_that_was_paid_since_the_backup_is_booked_and_never_paid_again(
    backup: Backup,
) -> None:
    paid, waits = await backup.house.submit(), await backup.house.submit()
    await backup.house.bench.change(waits, "run_after = now() + interval '1 h'")
    await backup.make()
    await backup.work()
    assert await backup.end(paid) == ("succeeded", None)

    await backup.restore()
    assert await backup.end(paid) == ("queued", None)
    found = await backup.recall()

    assert list(found.booked) == [paid]
    assert (await backup.recall()).booked == {}, "once is enough"
    assert await backup.end(paid) == PAID
    assert await backup.charges(paid) == [(1, "settled", PRICE)]
    assert (await backup.house.bench.events(paid))[-2:] == ["job.charge_resolved", "job.failed"]
    await backup.house.bench.change(waits, "run_after = now()")
    await backup.resume()
    assert await backup.end(waits) == ("succeeded", None)
    assert backup.paid == 2


@pytest.mark.parametrize("later", [timedelta(seconds=1), timedelta(days=365)])
async def test_a_moment_after_the_pause_is_refused(backup: Backup, later: timedelta) -> None:
    await backup.make()
    await backup.restore()
    paused_at, _ = await recalling.paused(backup.house.reader)
    with pytest.raises(Misconfigured, match="is after the pause, which began at"):
        await recalling.recall(backup.house.reader, paused_at + later)
    assert (await recalling.recall(backup.house.reader, paused_at)).booked == {}


async def test_what_was_accepted_since_the_backup_is_told_and_left(backup: Backup) -> None:
    await backup.make()
    (gone,) = await backup.house.spend("ok")
    await backup.restore()
    found = await backup.recall()
    assert found.booked == {}
    assert [(id_, [each.credits for each in calls]) for id_, calls in found.homeless.items()] == [
        (gone, [PRICE])
    ]


async def test_a_call_that_was_under_way_in_the_backup_is_booked_and_not_repeated(
    backup: Backup,
) -> None:
    ref = await backup.house.bench.running(on_unknown_charge="retry")
    await backup.make()
    await backup.call(ref.job_id)
    await backup.restore()
    assert list((await backup.recall()).booked) == [ref.job_id]
    assert await backup.end(ref.job_id) == PAID
    await backup.resume()
    assert backup.paid == 1


async def test_nor_is_one_that_the_reaper_has_given_up_meanwhile(backup: Backup) -> None:
    ref = await backup.house.bench.running(on_unknown_charge="retry")
    await backup.make()
    await backup.call(ref.job_id)
    await backup.restore()
    assert await backup.house.bench.reap(ref.job_id) == 1
    assert await backup.end(ref.job_id) == ("queued", None)
    assert list((await backup.recall()).booked) == [ref.job_id]
    assert await backup.end(ref.job_id) == PAID
    await backup.resume()
    assert backup.paid == 1


async def test_a_job_whose_image_the_backup_has_as_a_late_image_ends_with_it(
    backup: Backup,
) -> None:
    bench = backup.house.bench
    late = await bench.begin(await backup.house.submit(on_unknown_charge="retry"))
    await backup.call(late.job_id)
    await bench.reap(late.job_id)
    await bench.begin(late.job_id)
    (call,) = backup.house.provider.world.calls.all
    seen = replace(IMAGE, credits=call.charged, inference_id=call.inference_id)
    assert await bench.receive(late, seen) == ("late", late)
    await bench.keep_late(late)
    await backup.make()
    await backup.call(late.job_id, 2)
    await backup.restore()

    assert list((await backup.recall()).booked) == [late.job_id]

    assert await backup.end(late.job_id) == ("succeeded", None)
    assert await backup.charges(late.job_id) == [(1, "settled", PRICE), (2, "settled", PRICE)]
    assert (await bench.job(late.job_id))["held"] == 0
    assert backup.paid == 2


@pytest.mark.parametrize("way", ["adopted", "fetched"])
async def test_calls_that_the_backup_has_are_not_booked_again_whichever_had_the_image(
    backup: Backup, way: str
) -> None:
    bench = backup.house.bench
    first = await bench.running(on_unknown_charge="retry")
    await bench.reap(first.job_id)
    second = await bench.begin(first.job_id)
    if way == "adopted":
        await bench.lose(second)
    assert await bench.receive(first) is not None
    if way == "fetched":
        await bench.refuse(second)
    job = await bench.job(first.job_id)
    assert (job["phase"], job["attempt"]) == ("keep", 1), "the image's call, and not the last"
    named = {f"{ids.text(ids.JOB, first.job_id)}:{n}" for n in (1, 2)}
    backup.house.by_hand.update(named)  # the provider has made neither
    logged = [Call(n, PRICE, f"inf-{n}", job["created_at"], KEY) for n in (1, 2)]
    for _ in range(2):
        booked = await bench.do(
            lambda tx: recall(
                tx, bench.presenter, first.job_id, logged, paused_at=job["created_at"]
            )
        )
        assert [each.number for each in booked] == ([2] if way == "adopted" else [])
        way = "once is enough"
    assert await bench.audit() == []
    assert len(await bench.attempts(first.job_id)) == 2


async def test_a_job_that_was_dispatched_in_the_backup_is_no_exception(backup: Backup) -> None:
    job_id = await backup.house.submit()
    fence = await backup.house.bench.dispatch(job_id)
    await backup.make()
    await backup.call(job_id)
    await backup.restore()
    await backup.recall()
    assert await backup.end(job_id) == PAID
    assert await backup.house.bench.start(job_id, fence) is None, "an old message starts nothing"


async def test_a_job_whose_calls_since_were_free_is_tried_on(backup: Backup) -> None:
    job_id = await backup.house.submit(f"{FREE}, ok", on_unknown_charge="wait")
    await backup.make()
    await backup.work()
    await backup.restore()
    await backup.recall()
    assert await backup.charges(job_id) == [(1, "released", None)]
    await backup.resume()
    assert await backup.end(job_id) == ("succeeded", None)
    assert await backup.charges(job_id) == [(1, "released", None), (2, "settled", PRICE)]
    assert backup.paid == 1


@pytest.mark.parametrize("first", ["500", "429"])
async def test_all_calls_of_a_job_are_booked_those_the_log_does_not_show_left_out(
    backup: Backup, first: str
) -> None:
    job_id = await backup.house.submit(f"{first}, ok")
    rule = Rule("project", "total", "UTC", 2 * PRICE, "hard")
    project = backup.house.bench.caller.project_id
    await backup.house.bench.do(lambda tx: budgets.put(tx, project, rule))
    await backup.make()
    await backup.work()
    await backup.house.bench.change(job_id, "run_after = now()")
    await backup.work()
    assert await backup.end(job_id) == ("succeeded", None)
    logged = [call for call in backup.house.provider.world.calls.all if call.logged]

    await backup.restore()
    await backup.recall()

    assert await backup.end(job_id) == PAID
    shown = await backup.charges(job_id)
    assert len(shown) == len(logged)
    assert shown[-1] == (2, "settled", PRICE)
    (standing,) = await backup.house.bench.do(lambda tx: budgets.standings(tx, project))
    assert (standing.held, standing.spent) == (0, PRICE)


async def test_nothing_is_booked_before_everything_is_paused_and_the_log_has_caught_up(
    backup: Backup,
) -> None:
    job_id = await backup.house.submit()
    await backup.make()
    await backup.work()
    await backup.restore()
    await backup.house.bench.run("UPDATE pauses SET paused_at = now() - interval '10 min'")
    with pytest.raises(Misconfigured, match="may lag until"):
        await recalling.recall(backup.house.reader)
    await backup.house.bench.run("DELETE FROM pauses")
    with pytest.raises(Misconfigured, match="python -m models pause"):
        await recalling.recall(backup.house.reader)
    assert await backup.end(job_id) == ("queued", None)


@pytest.mark.parametrize("fault", ["500", "loop"])
async def test_a_log_that_cannot_be_read_to_its_end_books_nothing(
    backup: Backup, fault: str
) -> None:
    job_id = await backup.house.submit()
    await backup.make()
    await backup.work()
    await backup.restore()
    backup.house.provider.world.change({"account_fault": fault})
    with pytest.raises(AccountUnavailable):
        await recalling.recall(backup.house.reader)
    backup.house.provider.world.change({"account_fault": ""})
    assert await backup.charges(job_id) == []
    await backup.recall()
    assert await backup.end(job_id) == PAID


async def test_a_row_that_cannot_be_read_is_counted_and_hides_no_other(backup: Backup) -> None:
    odd = await backup.house.submit("ok+odd_row")
    paid = await backup.house.submit("ok")
    await backup.make()
    await backup.work()
    await backup.restore()

    found = await backup.recall()

    assert (found.odd, list(found.booked)) == (1, [paid])
    assert await backup.charges(odd) == []
    for call in backup.house.provider.world.calls.all:
        call.lies = {}  # the provider mends its log
    assert list((await backup.recall()).booked) == [odd]
    await backup.resume()


async def test_the_command_tells_an_operator_what_it_did(backup: Backup) -> None:
    await backup.house.submit()
    await backup.make()
    await backup.work()
    await backup.house.spend("ok")
    await backup.restore()
    settings = backup.house.settings
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker.restore",
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        env={
            **inherited(),
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "DARKROOM_SECRET": SECRET,
            "AIMLAPI_KEY": KEY,
            "AIMLAPI_BASE_URL": settings.aimlapi_base_url,
        },
    )  # fmt: skip
    said, _ = await command.communicate()
    assert command.returncode == 0
    lines = said.decode().splitlines()
    assert lines[1] == f"booked 1 calls of 1 jobs, {PRICE} credits, that the backup did not know"
    assert (
        lines[2] == f"not booked: 1 calls of 1 jobs, {PRICE} credits, that the backup does not have"
    )
    assert "python -m models resume" in lines[3]
