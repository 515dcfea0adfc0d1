"""`python -m tests.e2e.storm`: some storms, one line to quote; 1 when a ratio is above what was asked."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.servers import postgres, valkey
from tests.e2e import stage as stages
from tests.e2e.chaos.play import make_template
from tests.e2e.stage import Stage
from tests.e2e.storm.attackers import ATTACKS, CONTROL, Plan
from tests.e2e.storm.play import ENVIRONMENT, RATE, ROLES, Report, play, together, without


def main() -> int:
    """Play what was asked for."""
    asked = _arguments()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="darkroom-storm-"))
    print(f"logs and data: {folder}", flush=True)
    with (
        postgres.serve(folder / "postgres", durable=False) as database,
        valkey.serve(folder / "valkey") as doorbell,
    ):
        make_template(database)
        ground = Ground(folder, database.url, doorbell.url)
        return _each(ground, asked) if asked.each else _together(ground, asked)


@dataclass(frozen=True)
class Ground:
    """Where storms are played, each in a folder and a Darkroom of its own."""

    folder: Path
    database_url: str
    doorbell_url: str

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Open a Darkroom whose roles run."""
        urls = self.database_url, self.doorbell_url
        with stages.opened(self.folder / name, *urls, ENVIRONMENT) as stage:
            stage.start(*ROLES)
            yield stage


def _together(ground: Ground, asked: argparse.Namespace) -> int:
    plan, reports = Plan(asked.attacks, asked.amount, asked.rate, asked.nice), list[Report]()
    for n in range(asked.rounds):
        with ground.stage(f"round-{n}") as stage:
            report = play(stage, plan, asked.jobs)
        if not asked.without_control:
            with ground.stage(f"control-{n}") as stage:
                report = replace(report, control=without(stage, report.more, asked.jobs))
        reports.append(report)
        print(f"round {n + 1}: {report}", flush=True)
    report = together(reports)
    print(f"{len(reports)} rounds together: {report}", flush=True)
    return 0 if max(report.ratios.values()) <= asked.most else 1


def _each(ground: Ground, asked: argparse.Namespace) -> int:
    """Play each attack by itself, to see which costs what; nothing is judged."""
    for attack in asked.attacks:
        plan = Plan([attack], asked.amount, asked.rate, asked.nice)
        with ground.stage(attack) as stage:
            print(play(stage, plan, asked.jobs).brief, flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.storm", description=__doc__)
    every = [each for each in ATTACKS if each != CONTROL]
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=every)
    parser.add_argument("--each", action="store_true", help="one attack after the other")
    parser.add_argument("--jobs", type=int, default=50, help="of the quiet project, each time")
    parser.add_argument("--amount", type=int, default=400, help="of whatever an attack makes")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second of each attack")
    parser.add_argument(
        "--nice", type=int, default=19, help="of the attackers; less where others work here, too"
    )
    parser.add_argument("--rounds", type=int, default=2, help="each alone, then beside the attacks")
    parser.add_argument("--most", type=float, default=2.0, help="the greatest ratio that is good")
    parser.add_argument("--without-control", action="store_true", help="judge by alone; quicker")
    parser.add_argument("--folder", type=Path, help="where logs and data go; a new one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
