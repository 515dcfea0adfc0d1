"""One storm from the first quiet job to the last line, and its control."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from statistics import mean

from tests.e2e import stage as stages
from tests.e2e.hostile import Crowd, gathered
from tests.e2e.stage import Stage, eventually
from tests.e2e.storm import quiet
from tests.e2e.storm.attackers import Plan, attacking
from tests.e2e.storm.cores import OTHERS, Cores, burnt, counted
from tests.e2e.storm.quiet import Figures

ROLES = ("simulator", "api", "dispatcher", "worker")
# As it is in earnest, but for the provider's pace (`CALL`): a try that hangs holds its place for 15 s.
ENVIRONMENT = {
    "DARKROOM_DELIVERY_LEASE": "30",
    "DARKROOM_WEBHOOK_TIMEOUT": "15",
    "DARKROOM_DELIVER_SLOTS": "64",
    "DARKROOM_LEASE_RUN": "20",
    "DARKROOM_LEASE_RELEASE": "20",
    "DARKROOM_WORKER_SEEN": "10",
    "DARKROOM_TICK": "1",
    "DARKROOM_HEARTBEAT": "3",
    "DARKROOM_LOG_LAG": "900",
    "DARKROOM_GATE_PROBE": "15",
    "DARKROOM_RETRY_BASE": "1",
    "DARKROOM_RETRY_CAP": "60",
    "DARKROOM_BREAKER_ERRORS": "10",
    "DARKROOM_BREAKER_LOST": "5",
}
CALL = 5.0  # seconds of a paid call; in earnest 40
# Of it, give or take: calls that begin together do not end together, as they would with one time for all.
_SPREAD = 0.3
RATE = 10.0  # requests, or connections, a second of each attack
_WARM = (
    5  # jobs before any is measured: the first of a process compiles statements and starts children
)
_FLOOR = 0.05  # seconds: below it a figure is this machine's noise, and its ratio says nothing
_IDLE = 0.005  # cores: nothing to speak of
_HEAD_START = 20.0  # seconds that the attacks have at most before the quiet project comes


@dataclass(frozen=True)
class Report:
    """What the quiet project saw alone and beside the attacks, and how these were answered."""

    attacks: Sequence[str]
    alone: Figures
    beside: Figures
    told: Counter[str]
    undelivered: int  # webhooks of the hostile project that were still on their way at the end
    load: float  # of the machine, in the minute before
    cores: Cores  # that each process took beside the attacks
    more: Cores  # of them, what the attacks made our processes take more than alone
    lasted: float  # seconds that the attacks had
    control: Figures | None = None  # beside processes that take as many cores more, and do nothing

    @property
    def ratios(self) -> dict[str, float]:
        """Each figure beside the attacks, as a multiple of what it was alone, or beside the control."""
        return _ratios(self.beside, self.control or self.alone)

    @property
    def brief(self) -> str:
        """In a line: the figures beside as multiples of those alone, and what the attacks cost whom."""
        ratios = ", ".join(f"{name} {ratio:.1f} x" for name, ratio in self.ratios.items())
        cores = ", ".join(f"{name} {n:+.3f}" for (name, _), n in self.more.items() if n > _IDLE)
        told = self.told.total() / self.lasted
        return f"{', '.join(self.attacks)}: {ratios}; {told:.1f} answers/s; cores more: {cores}"

    def __str__(self) -> str:
        before, after = self.alone.p95, self.beside.p95
        figures = "; ".join(
            f"{name} p95 {before[name]:.3f} s alone, {after[name]:.3f} s beside ({ratio:.1f} x)"
            for name, ratio in _ratios(self.beside, self.alone).items()
        )
        if self.control is not None:
            same, others = _ratios(self.beside, self.control), self.control.p95
            figures += "; where something else took the cores: " + ", ".join(
                f"{name} {others[name]:.3f} s ({ratio:.1f} x)" for name, ratio in same.items()
            )
        cores = ", ".join(f"{name} {n:.2f}" for (name, _), n in self.cores.items() if n > _IDLE)
        return (
            f"storm of {', '.join(self.attacks)}: {figures}; the hostile project was told "
            f"{dict(self.told)}, {self.undelivered} of its webhooks were on their way; "
            f"the machine's load was {self.load:.1f} before; cores taken: {cores}"
        )


def play(stage: Stage, plan: Plan, jobs: int, call: float = CALL) -> Report:
    """Play a storm on a stage whose roles run."""
    key, _ = asyncio.run(stages.project(stage.settings, "hostile"))
    stage.top_up(10_000)
    stage.configure(latency=call, spread=_SPREAD)
    load = os.getloadavg()[0]
    with gathered() as crowd:
        quiet.work(stage.client, crowd, _WARM, "/warm")
        roles = {each.pid: each.name for each in stage.actors}
        with counted(roles) as before:
            alone = quiet.work(stage.client, crowd, jobs, "/alone")
        began = time.monotonic()
        with attacking(str(stage.client.base_url), key, plan) as (told, attackers):
            _head_start(stage, min(plan.amount, _MANY), time.monotonic() + _HEAD_START)
            with counted(roles | {attackers: "the attackers"}) as cores:
                beside = quiet.work(stage.client, crowd, jobs, "/beside")
            undelivered, lasted = stage.number(_UNDELIVERED), time.monotonic() - began
        _nobody_else(crowd, jobs)
    more = {who: n - before.get(who, 0) for who, n in cores.items() if who[0] != OTHERS}
    return Report(tuple(plan.attacks), alone, beside, told, undelivered, load, cores, more, lasted)


def without(stage: Stage, cores: Cores, jobs: int, call: float = CALL) -> Figures:
    """Play the control on another stage: nobody attacks, but something else takes as many cores."""
    stage.top_up(10_000)
    stage.configure(latency=call, spread=_SPREAD)
    with gathered() as crowd:
        quiet.work(stage.client, crowd, _WARM, "/warm")
        with burnt(cores):
            return quiet.work(stage.client, crowd, jobs, "/control")


def together(reports: Sequence[Report]) -> Report:
    """Return several storms as one: figures and answers of all of them, cores on the average."""
    first = reports[0]
    controls = [each.control for each in reports if each.control]
    return replace(
        first,
        alone=reduce(add, [each.alone for each in reports]),
        beside=reduce(add, [each.beside for each in reports]),
        told=sum((each.told for each in reports), Counter()),
        undelivered=round(mean(each.undelivered for each in reports)),
        load=mean(each.load for each in reports),
        cores=_average([each.cores for each in reports]),
        more=_average([each.more for each in reports]),
        lasted=sum(each.lasted for each in reports),
        control=reduce(add, controls) if controls else None,
    )


def _ratios(after: Figures, before: Figures) -> dict[str, float]:
    was = before.p95
    return {name: max(n, _FLOOR) / max(was[name], _FLOOR) for name, n in after.p95.items()}


def _average(cores: Sequence[Cores]) -> Cores:
    return {who: mean(each.get(who, 0) for each in cores) for who in cores[0]}


_UNDELIVERED = """
    SELECT count(*) FROM deliveries d JOIN projects p ON p.id = d.project_id
     WHERE p.name = 'hostile' AND d.state IN ('pending', 'sending')
"""


def _head_start(stage: Stage, many: int, until: float) -> None:
    """Let the attacks come to hold what they can: all places that one project may, or enough time."""
    eventually(
        lambda: stage.number(_UNDELIVERED) >= many or time.monotonic() > until,
        "the attacks have begun", _HEAD_START + 10,
    )  # fmt: skip


_MANY = 100  # deliveries on their way, more than there are places


def _nobody_else(crowd: Crowd, jobs: int) -> None:
    """Demand that every quiet job was told once."""
    for path in ("/alone", "/beside"):
        told = Counter(hit.id for hit in crowd.of(path))
        assert len(told) == jobs, f"{path}: {len(told)} of {jobs} were told"
