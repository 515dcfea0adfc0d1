"""`python -m tests.e2e.storm`: one storm, one line to quote; 1 when a ratio is above what was asked for."""

import argparse
import sys
import tempfile
from pathlib import Path

from deploy.local import postgres, valkey
from tests.e2e import stage as stages
from tests.e2e.chaos.play import make_template
from tests.e2e.storm.attacks import ATTACKS
from tests.e2e.storm.play import ENVIRONMENT, ROLES, play


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
        with stages.opened(folder / "stage", database.url, doorbell.url, ENVIRONMENT) as stage:
            stage.start(*ROLES)
            report = play(stage, asked.attacks, asked.jobs, asked.amount)
    print(report, flush=True)
    return 0 if max(report.ratios.values()) <= asked.most else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.storm", description=__doc__)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--jobs", type=int, default=60, help="of the quiet project, each time")
    parser.add_argument("--amount", type=int, default=400, help="of whatever an attack makes")
    parser.add_argument("--most", type=float, default=2.0, help="the greatest ratio that is good")
    parser.add_argument("--folder", type=Path, help="where logs and data go; a new one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
