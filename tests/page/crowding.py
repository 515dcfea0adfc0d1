"""`python tests/page/crowding.py DATA JOBS`: fill the database of a running local stack with jobs."""

import sys
import time
from pathlib import Path

# As a file, for another environment's pytest runs it.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.rows.growing import fill

# What the rooms read of all jobs together. Webhooks are read job by job, and take longest to write.
TABLES = ("jobs", "attempts", "ledger", "images", "usage_hours")

if __name__ == "__main__":
    held, jobs = Path(sys.argv[1]) / "postgres", int(sys.argv[2])
    password, port = ((held / name).read_text().strip() for name in ("password", "port"))
    began = time.monotonic()
    fill(
        f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres",
        jobs,
        ago="2 minutes",
        tables=TABLES,
    )
    seconds = time.monotonic() - began
    print(f"{jobs:,} jobs, four weeks of them, in {seconds:.0f} s", flush=True)  # noqa: T201 - a figure
