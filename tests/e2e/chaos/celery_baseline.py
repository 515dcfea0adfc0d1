"""The same load, kills and flushes on plain Celery: what a run of the chaos suite is compared with."""

import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import redis

from deploy.local.servers import postgres, valkey
from deploy.local.servers.server import Server, launched
from tests.e2e import stage as stages
from tests.e2e.chaos import peer
from tests.e2e.chaos.plan import Plan
from tests.e2e.chaos.play import Say, make_template
from tests.e2e.stage import KEY, ROOT, Stage, eventually

_SLOTS = 20  # tasks of one worker at a time
_QUIET = peer.VISIBILITY + 20.0  # seconds without a new row: what is missing does not come any more
_START = 60.0  # seconds until every worker answers; the first kill must find something to kill


@dataclass
class Peer:
    """What the same faults did to it. A job is lost when no row says what became of it."""

    jobs: int
    kills: int
    flushes: int
    lost: int
    double_paid: int
    seed: int

    def __str__(self) -> str:
        return (
            f"celery (acks_late, visibility_timeout {peer.VISIBILITY} s, retries): {self.jobs} jobs, "
            f"{self.kills} kills, {self.flushes} flushes; {self.lost} lost, {self.double_paid} double "
            f"paid; seed {self.seed}"
        )


def play_celery(plan: Plan, folder: Path, say: Say) -> Peer:
    """Play the kills and the flushes of a plan on plain Celery. The calling thread must outlive it."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres.serve(folder / "postgres", durable=False))
        broker = stack.enter_context(valkey.serve(folder / "valkey"))
        make_template(database)
        stage = stack.enter_context(stages.opened(folder / "stage", database.url, broker.url))
        stage.execute("CREATE TABLE results (number bigint PRIMARY KEY, url text)")
        stage.start("simulator")
        stage.configure(rates=plan.rates, latency=plan.latency, limit=plan.workers * _SLOTS)
        stage.top_up(1_000 + plan.jobs)
        crew = _Crew(stage, broker, plan)
        stack.callback(crew.close)
        return crew.play(say)


@dataclass
class _Crew:
    stage: Stage
    broker: Server
    plan: Plan
    workers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def play(self, say: Say) -> Peer:
        """Send the tasks at the pace of the faults, and count what became of them."""
        plan, never = self.plan, threading.Event()
        random = Random(plan.seed)  # noqa: S311  # who is hit, no secret
        faults = ["kill"] * plan.kills + ["flush"] * plan.flushes
        random.shuffle(faults)
        peer.app.conf.broker_url = self.broker.url
        self.workers = [self._start() for _ in range(plan.workers)]
        eventually(
            lambda: len(peer.app.control.ping(timeout=1.0)) == plan.workers, "all answer", _START
        )
        database = self.stage.settings.database_url.get_secret_value()
        for number in range(plan.jobs):
            peer.generate.delay(number, self.stage.simulator, KEY, database)
            while faults and number >= plan.jobs * (
                1 - len(faults) / (plan.kills + plan.flushes + 1)
            ):
                never.wait(plan.pause)
                self._strike(faults.pop(), random)
        say("celery: all faults are over; waiting until nothing comes any more")
        self._rest(never)
        return self._count()

    def close(self) -> None:
        """Kill every worker."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def _strike(self, fault: str, random: Random) -> None:
        if fault == "flush":
            with redis.Redis.from_url(self.broker.url) as client:
                client.flushall()
            return
        seat = random.randrange(len(self.workers))
        self.workers[seat].kill()
        self.workers[seat].wait()
        self.workers[seat] = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self.stage.folder / "celery.log").open("ab") as log:
            return subprocess.Popen(
                launched((
                    *(sys.executable, "-m", "celery", "-A", "tests.e2e.chaos.peer"),
                    *("-b", self.broker.url, "worker", "--pool=threads"),
                    *(f"--concurrency={_SLOTS}", "--loglevel=WARNING", "-n", f"w{time.monotonic_ns()}"),
                )),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                env=dict(self.stage.environment), start_new_session=True,
            )  # fmt: skip

    def _rest(self, never: threading.Event) -> None:
        rows, since, deadline = -1, time.monotonic(), time.monotonic() + self.plan.patience
        while time.monotonic() < min(since + _QUIET, deadline):
            now = self.stage.number("SELECT count(*) FROM results")
            if now == self.plan.jobs:
                return
            if now != rows:
                rows, since = now, time.monotonic()
            never.wait(0.5)

    def _count(self) -> Peer:
        done = self.stage.number("SELECT count(*) FROM results")
        paid = Counter(call.client_request_id for call in self.stage.calls() if call.charged)
        twice = sum(n - 1 for n in paid.values())
        plan = self.plan
        return Peer(plan.jobs, plan.kills, plan.flushes, plan.jobs - done, twice, plan.seed)
