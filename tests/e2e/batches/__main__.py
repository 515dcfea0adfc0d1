"""`python -m tests.e2e.batches`: one line to quote; 1 when a goal is missed."""

import argparse
import sys
import tempfile
from pathlib import Path

from deploy.local.servers import postgres, valkey
from tests.e2e import stage as stages
from tests.e2e.batches.play import ENVIRONMENT, ROLES, Report, play
from tests.e2e.chaos.play import make_template

_SECONDS = 5.0  # to accept 10,000 rows, and until none of a canceled batch begins
_RATIO = 2.0  # of the neighbour's POST
_MEMORY = 200  # MiB, of the child and what the api has more than before


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.batches", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="of the batch that is timed")
    parser.add_argument("--many", type=int, default=50_000, help="of the one that is canceled")
    parser.add_argument("--run", type=int, default=1_000, help="rows that are run to their end")
    parser.add_argument("--folder", type=Path, help="where logs and data go; a new one by default")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="darkroom-batches-"))
    print(f"logs and data: {folder}", flush=True)
    with (
        postgres.serve(folder / "postgres") as database,
        valkey.serve(folder / "valkey") as doorbell,
    ):
        make_template(database)
        with stages.opened(folder / "stage", database.url, doorbell.url, ENVIRONMENT) as stage:
            stage.start(*ROLES)
            report = play(stage, asked.rows, asked.many, asked.run)
    print(report)
    missed = list(_missed(report, asked.rows))
    print("missed: " + "; ".join(missed) if missed else "every goal is met")
    return 1 if missed else 0


def _missed(report: Report, rows: int) -> list[str]:
    goals = {
        f"{rows:,} rows within {_SECONDS:g} s": report.accepted <= _SECONDS,
        f"the neighbour's POST within {_RATIO:g} x": report.ratio <= _RATIO,
        f"{_MEMORY} MiB": report.memory.more <= _MEMORY,
        f"a cancel within {_SECONDS:g} s": max(report.answered, report.last_began) <= _SECONDS,
    }
    return [goal for goal, met in goals.items() if not met]


if __name__ == "__main__":
    sys.exit(main())
