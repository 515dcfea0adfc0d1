"""`python -m tests.e2e.chaos`: one run, one line to quote; 0 when nothing was broken."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.e2e.chaos.celery_baseline import play_celery
from tests.e2e.chaos.plan import Plan
from tests.e2e.chaos.play import play

_LONG = 5_000  # jobs from which on Postgres stays away for 90 s, and Redis is frozen for 60


def main() -> int:
    """Play what was asked for."""
    asked = _arguments()
    long = asked.jobs >= _LONG
    plan = Plan(
        jobs=asked.jobs,
        kills=asked.kills,
        seed=asked.seed,
        away=90.0 if long else 20.0,
        frozen=60.0 if long else 20.0,
    )
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="darkroom-chaos-"))
    print(f"logs and data: {folder}", flush=True)
    report = play(plan, folder, _say)
    for violation in report.violations:
        print(f"VIOLATION {violation}")
    print(f"{dict(report.done)}; jobs ended: {dict(report.ends)}")
    print(report, flush=True)
    if asked.celery:
        print(play_celery(plan, folder / "celery", _say), flush=True)
    return 0 if report.passed else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--celery", action="store_true", help="the same on plain Celery afterwards")
    parser.add_argument("--folder", type=Path, help="where logs and data go; a new one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
