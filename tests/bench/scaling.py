"""What one job asks of Postgres, and how many go through: the figures of docs/scaling.md.

    python -m tests.bench.scaling --jobs 400 --dispatchers 2 --workers 4

By hand: statements, commits and bytes of WAL of each job, and connections, as Postgres counts them, and the
CPU of each role. The provider answers after 0.3 s; roles and leases are a test stage's
(`tests/e2e/stage.py`).
"""

import argparse
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from deploy.local.servers import postgres, valkey
from tests.bench.ground import used_by
from tests.e2e import stage as stages
from tests.e2e.chaos.play import make_template
from tests.e2e.stage import Stage, eventually

_NEVER = threading.Event()
_PLACES = 200
_ROLES = ("api", "dispatcher", "worker")
_PATIENCE = 300.0  # seconds
_RUN = re.compile(r"(darkroom[\w-]*)\|LOG:  duration: [\d.]+ ms  (execute|statement)")
_LOGGING = (
    "ALTER SYSTEM SET log_line_prefix = '%a|'",
    "ALTER SYSTEM SET log_min_duration_statement = 0",
    "SELECT pg_reload_conf()",
)
_COUNTS = """
    SELECT xact_commit, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')
      FROM pg_stat_database WHERE datname = current_database()
"""
_IDLE = 13.0  # seconds
_STATISTICS = 1.5  # seconds until a session has told what it did
_LEFT = """
    SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL)
         + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))
"""
_CONNECTIONS = """
    SELECT application_name, count(*) FROM pg_stat_activity
     WHERE datname = current_database() GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class _Seen:
    """What Postgres has counted between two moments; `statements` by the role that ran them."""

    commits: int
    wal: int
    statements: Mapping[str, int]
    cpu: Mapping[str, float]  # seconds, by role

    def of_each(self, jobs: int) -> str:
        """Write what one of so many jobs cost."""
        statements = {role: round(n / jobs, 1) for role, n in self.statements.items()}
        cpu = {role: round(1000 * seconds / jobs, 1) for role, seconds in self.cpu.items()}
        return (
            f"{self.commits / jobs:.1f} commits, {self.wal / jobs:,.0f} bytes of WAL, "
            f"{sum(self.statements.values()) / jobs:.1f} statements {statements}, ms of CPU {cpu}"
        )


def main() -> int:
    """Run jobs through, and print what each of them cost."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="darkroom-scaling-") as name:
        folder = Path(name)
        with (
            postgres.serve(folder / "postgres") as database,
            valkey.serve(folder / "valkey") as redis,
        ):
            make_template(database)
            if asked.statements:
                with psycopg.connect(database.url, autocommit=True) as admin:
                    for each in _LOGGING:
                        admin.execute(each.encode())
            places = {
                "DARKROOM_PROVIDER_LIMIT": str(_PLACES),
                "DARKROOM_PROVIDER_LIMIT_FLOOR": str(_PLACES),
                "DARKROOM_GENERATE_SLOTS": str(_PLACES // asked.workers),
                "DARKROOM_DELIVER_SLOTS": "64",
                "DARKROOM_LOG_LAG": "900",
                "DARKROOM_TICK": "1",
                "DARKROOM_LOG_LEVEL": "WARNING",
                "DARKROOM_REQUESTS_PER_MINUTE": "100000000",
            }
            with stages.opened(folder / "stage", database.url, redis.url, places) as stage:
                stage.start("simulator", "api")
                stage.start(*["dispatcher"] * asked.dispatchers, *["worker"] * asked.workers)
                _measure(stage, folder / "postgres" / "log", asked.jobs, asked.pace)
    return 0


def _measure(stage: Stage, log: Path, jobs: int, pace: float) -> None:
    stage.top_up(100_000)
    stage.configure(latency=0.3)
    _submit(stage, 30, 30)  # connections open, statements are prepared
    with _counted(stage, log) as idle:
        _NEVER.wait(_IDLE - 2 * _STATISTICS)
    with _counted(stage, log) as seen:
        began = time.monotonic()
        _submit(stage, jobs, pace)
        took = time.monotonic() - began
        held = stage.rows(_CONNECTIONS)
    (nothing,), (found,) = idle, seen
    connections = {str(name): number for name, number in held}
    sys.stdout.write(
        f"idle for {_IDLE:g} s: {nothing}\n"
        f"{jobs / took:.1f} jobs a second; connections {connections}\n"
        f"of a job: {found.of_each(jobs)}\n"
    )


def _submit(stage: Stage, jobs: int, pace: float) -> None:
    """Submit so many a second, or as fast as they are taken, and wait until all are told."""
    with ThreadPoolExecutor(8) as pool:
        asked = []
        for _ in range(jobs):
            asked.append(pool.submit(stage.submit))
            _NEVER.wait(1 / pace if pace else 0)
        for each in asked:
            each.result()
    eventually(lambda: stage.number(_LEFT) == 0, "every job is told", _PATIENCE)


@contextmanager
def _counted(stage: Stage, log: Path) -> Iterator[list[_Seen]]:
    """Count until the block ends."""
    seen: list[_Seen] = []
    _NEVER.wait(_STATISTICS)
    (before,) = stage.rows(_COUNTS)
    length, used = log.stat().st_size, _cpu(stage)
    yield seen
    _NEVER.wait(_STATISTICS)
    (after,) = stage.rows(_COUNTS)
    with log.open("rb") as written:
        written.seek(length)
        run = Counter(found[1] for found in _RUN.finditer(written.read().decode(errors="replace")))
    commits, wal = (int(str(b)) - int(str(a)) for a, b in zip(before, after, strict=True))
    cpu = {role: round(seconds - used[role], 2) for role, seconds in _cpu(stage).items()}
    seen.append(_Seen(commits, wal, dict(run), cpu))


def _cpu(stage: Stage) -> dict[str, float]:
    return {role: sum(used_by(each.pid) for each in stage.living(role)) for role in _ROLES}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--pace", type=float, default=0, help="jobs a second; 0: all at once")
    parser.add_argument("--dispatchers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--statements", action="store_true", help="count them, by a log of each")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
