"""`python -m tests.e2e.storm`: some storms, one line to quote; 1 when a ratio is above what was asked."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from deploy.local.servers import postgres, valkey
from tests.e2e import stage as stages
from tests.e2e.chaos.play import make_template
from tests.e2e.storm.attackers import ATTACKS, CONTROL, Plan
from tests.e2e.storm.play import ENVIRONMENT, RATE, ROLES, Report, middle, play, without


def main() -> int:
    """Play what was asked for."""
    asked = _arguments()
    plan = Plan(asked.attacks, asked.amount, asked.rate)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="darkroom-storm-"))
    print(f"logs and data: {folder}", flush=True)
    with (
        postgres.serve(folder / "postgres", durable=False) as database,
        valkey.serve(folder / "valkey") as doorbell,
    ):
        make_template(database)
        reports: list[Report] = []
        for n in range(asked.rounds):
            place = folder / f"round-{n}"
            with stages.opened(place, database.url, doorbell.url, ENVIRONMENT) as stage:
                stage.start(*ROLES)
                report = play(stage, plan, asked.jobs)
            if not asked.without_control:
                place = folder / f"control-{n}"
                with stages.opened(place, database.url, doorbell.url, ENVIRONMENT) as stage:
                    stage.start(*ROLES)
                    report = replace(report, control=without(stage, report.more, asked.jobs))
            reports.append(report)
            print(f"round {n + 1}: {reports[-1]}", flush=True)
    report = middle(reports)
    print(f"medians of {len(reports)} rounds: {report}", flush=True)
    return 0 if max(report.ratios.values()) <= asked.most else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.storm", description=__doc__)
    every = [each for each in ATTACKS if each != CONTROL]
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=every)
    parser.add_argument("--jobs", type=int, default=60, help="of the quiet project, each time")
    parser.add_argument("--amount", type=int, default=400, help="of whatever an attack makes")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second of each attack")
    parser.add_argument("--rounds", type=int, default=3, help="each alone, then beside the attacks")
    parser.add_argument("--most", type=float, default=2.0, help="the greatest ratio that is good")
    parser.add_argument("--without-control", action="store_true", help="judge by alone; quicker")
    parser.add_argument("--folder", type=Path, help="where logs and data go; a new one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
