"""`python -m tests.bench`: every row, or those named, in one run; a table, `bench.json` and `bench.svg`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console

from tests.bench import figures
from tests.bench.figures import Figure
from tests.bench.ground import Ground, opened
from tests.bench.rows import (
    delivering,
    dispatching,
    draining,
    growing,
    overhead,
    reading,
    submitting,
    working,
)

_ROWS: dict[str, Callable[[Ground], Awaitable[list[Figure]]]] = {
    "overhead": overhead.measure,
    "submitting": submitting.measure,
    "reading": reading.measure,
    "delivering": delivering.measure,
    "draining": draining.measure,
    "dispatching": dispatching.measure,
    "working": working.measure,
    "growing": growing.measure,
}


def main() -> int:
    """Measure; 0 however it comes out, for a figure is no test."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"of {', '.join(_ROWS)}; default: all"
    )
    parser.add_argument("--full", action="store_true", help="all sizes, as the goals name them")
    parser.add_argument(
        "--environments", type=Path, required=True, help="where Darkroom's is, and the peers'"
    )
    parser.add_argument("--postgres", type=Path, help="the programs of another PostgreSQL")
    parser.add_argument("--before", type=Path, help="the checkout of another version")
    parser.add_argument("--out", type=Path, default=Path(), help="where bench.json and .svg go")
    asked = parser.parse_args()
    if unknown := set(asked.rows) - set(_ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    # A table of six columns needs room, also in a file.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    found = uvloop.run(_run(asked, console))
    asked.out.mkdir(parents=True, exist_ok=True)
    figures.write(found, asked.out)
    return 0


async def _run(asked: argparse.Namespace, console: Console) -> list[Figure]:
    found: list[Figure] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        async with opened(
            Path(folder),
            full=asked.full,
            environments=asked.environments.absolute(),
            programs=asked.postgres,
            before=asked.before and asked.before.absolute(),
        ) as ground:
            try:
                for name in asked.rows or _ROWS:
                    console.print(f"{time.monotonic() - started:4.0f} s  {name}")
                    found += await _ROWS[name](ground)
            finally:  # what was measured is not lost with a row that fails
                figures.show(found, console)
    console.print(f"{time.monotonic() - started:.0f} s in all, on {_machine()}")
    return found


def _machine() -> str:
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return f"{len(cpus)} cores of {cpus[0].partition(':')[2].strip()}" if cpus else "this machine"


if __name__ == "__main__":
    sys.exit(main())
