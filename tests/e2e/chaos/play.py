"""One run from the first process to the last line: set the stage, play, let everything rest, compare."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import psycopg
from psycopg import sql

from deploy.local.servers import account, postgres, valkey
from deploy.local.servers.server import Server
from models.platform.db import migrate
from tests.e2e import stage as stages
from tests.e2e.chaos import moves
from tests.e2e.chaos.company import Company
from tests.e2e.chaos.faults import FAULTS, TOUCHES, Fault, World
from tests.e2e.chaos.hostile import Hostile, Moody
from tests.e2e.chaos.load import Load
from tests.e2e.chaos.plan import Plan
from tests.e2e.chaos.proxies import standing_before
from tests.e2e.chaos.report import Report, report
from tests.e2e.stage import Stage
from tests.fixtures.databases import TEMPLATE

Say = Callable[[str], None]

_STEP = 0.05  # seconds between two looks of the director
_AT_ONCE = 3  # faults under way at the same time
_AHEAD = 1.5  # how many faults' worth of jobs may be submitted before their faults have begun
_RESTING = """
    SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL)
         + (SELECT count(*) FROM attempts WHERE charge = 'unknown')
         + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))
"""


def play(plan: Plan, folder: Path, say: Say) -> Report:
    """Play a plan in this folder, and report. The thread that calls must outlive the play."""
    with ExitStack() as stack:
        world = stack.enter_context(_set(plan, folder))
        load = Load(world.stage, plan, [seat.url for seat in world.company.all("api")])
        stack.callback(load.close)
        Director(world, load, say).run()
        _rest(world, say)
        return report(world, load.said)


def make_template(database: Server) -> None:
    """Make the migrated database that a stage's is copied from."""
    with psycopg.connect(database.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrate.migrate(f"{database.url.rpartition('/')[0]}/{TEMPLATE}")


@dataclass
class Director:
    """Begins the faults one after the other as the jobs come in, and steps those under way."""

    world: World
    load: Load
    say: Say
    under_way: dict[str, tuple[Fault, float]] = field(default_factory=dict)

    def run(self) -> None:
        """Go on until every fault was played and every client has gone home."""
        plan, never = self.world.plan, threading.Event()
        to_come = deque(self.world.plan.schedule())
        total, last = len(to_come), 0.0
        while to_come or self.under_way or not self.load.done:
            begun = total - len(to_come)
            self.load.allowed = plan.jobs * (begun + _AHEAD) / total if to_come else plan.jobs
            due = self.load.said.submitted >= plan.jobs * (begun + 0.5) / (total + 1)
            if to_come and due and time.monotonic() >= last + plan.pause and self._begin(to_come):
                last = time.monotonic()
            self._step()
            self.world.company.tend()
            never.wait(_STEP)

    def _begin(self, to_come: "deque[str]") -> bool:
        """Begin the next fault that may; a later one goes first while its thing is in other hands."""
        if len(self.under_way) >= _AT_ONCE:
            return False
        for name in list(to_come)[:_AT_ONCE]:
            if TOUCHES.get(name, name) not in self.under_way:
                to_come.remove(name)
                self.under_way[TOUCHES.get(name, name)] = (FAULTS[name](self.world), 0.0)
                self.say(f"{datetime.now(UTC):%T} {self.load.said.submitted:6} jobs  {name}")
                return True
        return False

    def _step(self) -> None:
        for what, (fault, due) in list(self.under_way.items()):
            if time.monotonic() < due:
                continue
            try:
                self.under_way[what] = (fault, time.monotonic() + next(fault))
            except StopIteration:
                del self.under_way[what]


@contextmanager
def _set(plan: Plan, folder: Path) -> Iterator[World]:
    """Start the servers, the witnesses and the company of one plan; afterwards nothing is left."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres.serve(folder / "postgres", durable=False))
        doorbell = stack.enter_context(valkey.serve(folder / "valkey"))
        make_template(database)
        stage = stack.enter_context(
            stages.opened(folder / "stage", database.url, doorbell.url, _environment(plan))
        )
        stage.account = account.choose().launch  # without root's powers, so that a mode binds
        moves.witness(stage)
        commits = stack.enter_context(
            standing_before(stage.settings.database_url.get_secret_value())
        )
        random = Random(plan.seed)  # noqa: S311  # who is hit, no secret
        company = Company(stage, random)
        others = Hostile(plan.seed), Moody(plan.seed)
        world = World(stage, company, plan, database, doorbell, commits, *others, random)
        _people(world)
        yield world


def _people(world: World) -> None:
    """Start the provider and everybody, and wait until all work."""
    plan, stage, company = world.plan, world.stage, world.company
    stage.start("simulator")
    stage.configure(rates=plan.rates, latency=plan.latency, limit=plan.workers * 20)
    stage.top_up(1_000 + plan.jobs)
    stage.cdn.spoil = world.hostile.spoil
    stage.receiver.fails = world.moody.fails
    for role, count in (
        ("api", plan.apis),
        ("dispatcher", plan.dispatchers),
        ("worker", plan.workers),
    ):
        company.seat(role, count, world.commits.url)
    company.tend()
    for seat in company.seats:
        assert seat.actor is not None
        stage.until_ready(seat.actor)


def _rest(world: World, say: Say) -> None:
    """Let everything come to rest: every job ended, every charge known, every webhook delivered."""
    stage, plan, never = world.stage, world.plan, threading.Event()
    say("all faults are over; waiting until every job has ended and every charge is known")
    # A dead dispatcher's leases on duties last a minute; here that minute is over.
    stage.execute("UPDATE duties SET lease_until = now() WHERE holder IS NOT NULL")
    deadline = time.monotonic() + plan.patience
    while world.company.leaving or (time.monotonic() < deadline and not _rests(stage)):
        world.company.tend()
        never.wait(0.5)


def _rests(stage: Stage) -> bool:
    state = httpx.get(f"{stage.simulator}/_simulator/").json()
    return (
        stage.number(_RESTING) == 0
        and state["in_flight"] == 0
        and stage.number("SELECT coalesce(sum(charged), 0) FROM jobs") == stage.ledger().charged
    )


def _environment(plan: Plan) -> Mapping[str, str]:
    """Shorten leases and the rest of what a run would wait for; nothing else is changed."""
    return {
        "DARKROOM_LEASE_RUN": f"{plan.lease:g}",
        "DARKROOM_LEASE_RELEASE": f"{plan.lease:g}",
        "DARKROOM_HEARTBEAT": f"{plan.lease / 5:g}",
        "DARKROOM_WORKER_SEEN": f"{plan.lease / 2:g}",
        "DARKROOM_DELIVERY_LEASE": f"{plan.lease:g}",
        "DARKROOM_ATTEMPT_TIMEOUT": f"{plan.attempt_timeout:g}",
        "DARKROOM_ATTEMPT_TIMEOUT_LARGE": f"{plan.attempt_timeout:g}",
        "DARKROOM_KEEP_TTL": f"{plan.keep:g}",
        "DARKROOM_LOG_LAG": "2",
        "DARKROOM_WEBHOOK_SCHEDULE": "[1, 1, 2, 2, 4, 4, 8, 8, 8]",
        "DARKROOM_PROVIDER_LIMIT": "60",
        "DARKROOM_GRACE": f"{plan.attempt_timeout + 10:g}",
    }
