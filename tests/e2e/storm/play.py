"""One storm from the first quiet job to the last line."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from tests.e2e import stage as stages
from tests.e2e.hostile import Crowd, gathered
from tests.e2e.stage import Stage, eventually
from tests.e2e.storm import quiet
from tests.e2e.storm.attacks import ATTACKS, arrived
from tests.e2e.storm.quiet import Figures

ROLES = ("simulator", "api", "dispatcher", "worker")
# As it is in earnest, but for the simulator's pace: a try that hangs holds its place for 15 s.
ENVIRONMENT = {
    "DARKROOM_DELIVERY_LEASE": "30",
    "DARKROOM_WEBHOOK_TIMEOUT": "15",
    "DARKROOM_DELIVER_SLOTS": "64",
    "DARKROOM_LEASE_RUN": "20",
    "DARKROOM_LEASE_RELEASE": "20",
    "DARKROOM_WORKER_SEEN": "10",
    "DARKROOM_TICK": "1",
}
_FLOOR = 0.05  # seconds: below it a figure is this machine's noise, and its ratio says nothing
_HEAD_START = 20.0  # seconds that the attacks have at most before the quiet project comes


@dataclass(frozen=True)
class Report:
    """What the quiet project saw alone and beside the attacks, and what these were told."""

    attacks: Sequence[str]
    alone: Figures
    beside: Figures
    told: Counter[int]
    undelivered: int  # webhooks of the hostile project that were still on their way at the end

    @property
    def ratios(self) -> dict[str, float]:
        """Each figure beside the attacks, as a multiple of what it was alone."""
        before, after = asdict(self.alone), asdict(self.beside)
        return {name: max(after[name], _FLOOR) / max(before[name], _FLOOR) for name in before}

    def __str__(self) -> str:
        before, after = asdict(self.alone), asdict(self.beside)
        figures = "; ".join(
            f"{name} p95 {before[name]:.3f} s alone, {after[name]:.3f} s beside ({ratio:.1f} x)"
            for name, ratio in self.ratios.items()
        )
        return (
            f"storm of {', '.join(self.attacks)}: {figures}; the hostile project was told "
            f"{dict(self.told)}, {self.undelivered} of its webhooks were on their way"
        )


def play(stage: Stage, attacks: Sequence[str], jobs: int, amount: int) -> Report:
    """Play a storm on a stage whose roles run."""
    key, _ = asyncio.run(stages.project(stage.settings, "hostile"))
    stage.top_up(10_000)
    with gathered() as crowd, arrived(str(stage.client.base_url), key, amount) as hostile:
        alone = quiet.work(stage.client, crowd, jobs, "/alone")
        with ThreadPoolExecutor(len(attacks)) as pool:
            under_way = [pool.submit(ATTACKS[name], hostile) for name in attacks]
            try:
                _head_start(under_way_until=time.monotonic() + _HEAD_START, stage=stage)
                beside = quiet.work(stage.client, crowd, jobs, "/beside")
                undelivered = stage.number(_UNDELIVERED)
            finally:
                hostile.over.set()
            for each in under_way:
                each.result()
        _nobody_else(crowd, jobs)
        return Report(tuple(attacks), alone, beside, hostile.told, undelivered)


_UNDELIVERED = """
    SELECT count(*) FROM deliveries d JOIN projects p ON p.id = d.project_id
     WHERE p.name = 'hostile' AND d.state IN ('pending', 'sending')
"""


def _head_start(*, under_way_until: float, stage: Stage) -> None:
    """Let the attacks come to hold what they can: all places that one project may, or enough time."""
    eventually(
        lambda: stage.number(_UNDELIVERED) >= _MANY or time.monotonic() > under_way_until,
        "the attacks have begun", _HEAD_START + 10,
    )  # fmt: skip


_MANY = 100  # deliveries on their way, more than there are places


def _nobody_else(crowd: Crowd, jobs: int) -> None:
    """Demand that every quiet job was told once."""
    for path in ("/alone", "/beside"):
        told = Counter(hit.id for hit in crowd.of(path))
        assert len(told) == jobs, f"{path}: {len(told)} of {jobs} were told"
