"""A dispatcher and a worker in this process, spending money at the simulator over HTTP.

The simulator is the independent witness: `House.compare` sets its books beside ours, credit by credit.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from psycopg.rows import DictRow

from deploy.simulator import Running
from deploy.simulator.calls import Call, mark
from models import ids
from models.accounts.projects import Caller
from models.coordination import workers
from models.jobs.view import Presenter
from models.platform.db import Database
from models.settings import Settings
from tests.decoders import DECODERS
from tests.making import Bench
from worker import generate
from worker.dispatcher import dispatching
from worker.dispatcher.accounting import AccountReader
from worker.dispatcher.duty import Dispatcher
from worker.provider import Provider
from worker.runtime.app import connect
from worker.runtime.context import Context, open_context

MODEL = "bytedance/seedream-5-0-lite-preview"
PRICE = 91_000
KEY = "simulator-key"
CHARGED, FREE = "reset_after_charge", "reset_before_charge"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class House:
    """One Darkroom without its API, and the provider it spends at.

    `by_hand` are the attempts whose cost an operator has said, right or wrong.
    """

    settings: Settings
    bench: Bench
    provider: Running
    context: Context
    reader: AccountReader
    by_hand: set[str] = field(default_factory=set)

    async def submit(self, script: str = "ok", **changes: object) -> UUID:
        """Submit a job whose calls the simulator answers by `script`; it fails when one is lost."""
        body = {"model": MODEL, "prompt": f"a red bicycle [sim: {script}]"}
        unique = {"input": body, "input_hash": sha256(uuid4().bytes).digest()}
        return await self.bench.submit(**unique | {"on_unknown_charge": "fail"} | changes)

    async def spend(self, *scripts: str, **changes: object) -> list[UUID]:
        """Submit a job for each script, and work until nothing may run any more."""
        made = [await self.submit(script, **changes) for script in scripts]
        while await self.work():
            pass
        return made

    async def work(self, *, together: bool = True) -> int:
        """Dispatch what the dispatcher lets pass, and run each to its end; return how many ran.

        All at once, or one after the other by rank.
        """
        while await dispatching.run(self.reader.dispatcher):
            pass
        released = await self.bench.rows(
            "SELECT id, fence FROM jobs WHERE status = 'released' ORDER BY rank, id"
        )
        runs = [generate.run(self.context, row["id"], row["fence"]) for row in released]
        if together:
            await asyncio.gather(*runs)
        else:
            for run in runs:
                await run
        return len(released)

    async def dispatcher(self, name: str) -> AccountReader:
        """Another dispatcher of the same Darkroom."""
        return replace(self.reader, dispatcher=replace(self.reader.dispatcher, name=name))

    async def age(self, by: timedelta) -> None:
        """Let time pass for all that has happened so far, here and at the provider."""
        await self.bench.run(
            "UPDATE attempts SET sent_at = sent_at - :by, absent_at = absent_at - :by", by=by
        )
        await self.bench.run("UPDATE account_lines SET at = at - :by", by=by)
        await self.bench.run("UPDATE duties SET done_at = done_at - :by", by=by)
        world = self.provider.world
        for call in world.calls.all:
            call.received_at -= by
            call.settled_at = call.settled_at and call.settled_at - by
        world.wallet.entries[:] = [
            replace(entry, created_at=entry.created_at - by) for entry in world.wallet.entries
        ]

    async def charge(self, job_id: UUID, number: int = 1) -> str:
        """Return what is known of an attempt's charge."""
        return str((await self.bench.attempts(job_id))[number - 1]["charge"])

    async def charges(self, *jobs: UUID) -> list[str]:
        """Return what is known of the charge of each job's first attempt."""
        return [await self.charge(job_id) for job_id in jobs]

    async def events(self, type_: str) -> Sequence[DictRow]:
        """Return the events of a type, in order."""
        return await self.bench.rows(
            "SELECT project_id, job_id, body FROM events WHERE type = :type ORDER BY id", type=type_
        )

    def strangers(
        self,
        count: int,
        *,
        credits_: int = PRICE,
        odd: Collection[int] = (),
        after: timedelta = timedelta(0),
        named: str | None = None,
    ) -> list[Call]:
        """Let somebody else make paid calls with our key, `after` now; some of their rows are odd."""
        calls, wallet = self.provider.world.calls, self.provider.world.wallet
        made = []
        for number in range(count):
            call = calls.receive(named)
            call.received_at += after
            call.key, call.model, call.logged = mark(self.provider.world.config.key), MODEL, True
            call.lies = {"odd_row": 0.0} if number in odd else {}
            wallet.hold(credits_)
            wallet.charge(credits_, MODEL, call.inference_id)
            calls.settle(call, credits_)
            made.append(call)
        return made

    @property
    def log_requests(self) -> int:
        """How often the simulator's log was asked for."""
        return len(self.provider.world.log_requests)

    async def compare(self) -> None:
        """Demand that our books are the simulator's, but for charges that we say are unknown."""
        assert await self.bench.audit() == []
        attempts = await self.bench.rows(
            "SELECT client_request_id, charge, coalesce(credits, 0) AS credits FROM attempts"
        )
        known = [
            row
            for row in attempts
            if row["charge"] != "unknown" and row["client_request_id"] not in self.by_hand
        ]
        calls = {
            call.client_request_id: call.inference_id for call in self.provider.world.calls.all
        }
        moved: Counter[str | None] = Counter()
        for entry in self.provider.world.wallet.entries:
            moved[entry.reference_id] -= entry.signed
        ours = {row["client_request_id"]: row["credits"] for row in known}
        theirs = {id_: moved[calls[id_]] if id_ in calls else 0 for id_ in ours}
        wrong = {id_: (ours[id_], theirs[id_]) for id_ in ours if ours[id_] != theirs[id_]}
        assert wrong == {}, "(ours, the provider's)"
        booked = await self.bench.rows(
            "SELECT coalesce(sum(credits), 0) AS sum FROM ledger "
            "WHERE kind NOT IN ('hold', 'release') AND job_id::text || ':' || attempt <> ALL(:by_hand)",
            by_hand=[_row_name(each) for each in self.by_hand],
        )
        assert booked[0]["sum"] == sum(theirs.values())
        assert self.provider.world.wallet.held == 0


@asynccontextmanager
async def opened(
    settings: Settings, database: Database, caller: Caller, provider: Running, **changes: object
) -> AsyncIterator[House]:
    """Open a house on this database and this simulator; compares the books when it closes in peace."""
    # Redis has numbered databases: nobody else takes the messages of this one.
    redis = f"{settings.redis_url.get_secret_value().rpartition('/')[0]}/7"
    ours = {"aimlapi_base_url": provider.url, "redis_url": redis, **changes}
    settings = Settings.model_validate(settings.model_dump() | ours)
    assert settings.aimlapi_key is not None
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(
            open_context(settings, "worker-1", pictures=DECODERS)
        )
        # The connections and the compiled statements that the tests before have left warm.
        context = replace(context, database=database)
        bench = Bench(database, Presenter(settings.public_url, context.vault), caller)
        dispatcher = Dispatcher(
            settings=settings,
            name="dispatcher-1",
            database=database,
            doorbell=context.doorbell,
            celery=connect(settings),
            presenter=bench.presenter,
        )
        asking = await stack.enter_async_context(
            Provider(settings.aimlapi_base_url, settings.aimlapi_key)
        )
        async with database.transaction() as tx:
            await workers.report(tx, "worker-1", generate_slots=64, deliver_slots=8, draining=False)
        house = House(settings, bench, provider, context, AccountReader(dispatcher, asking))
        yield house
        await house.compare()


def _row_name(client_request_id: str) -> str:
    job, _, number = client_request_id.rpartition(":")
    return f"{ids.parse(ids.JOB, job)}:{number}"
