"""What a report of a month costs beside millions of jobs: by the hours that were folded, and without them.

By hand: `python -m tests.bench.months [JOBS]`. It folds the whole history first, as a dispatcher does after
an upgrade, and says whether both reports are the same.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from deploy.local.servers import postgres
from models.money import hours, usage
from models.money.usage import Dimension, Period, Report
from models.platform.db import Database, migrate
from models.platform.vault import Vault
from tests.bench.rows.growing import fill
from tests.conftest import make_project, make_settings

_ZONE = "Europe/Berlin"
_ASKED: tuple[tuple[Dimension, ...], ...] = ((), ("day",), ("customer",), ("key", "model"))
_TIMES = 2  # of which the quicker counts


async def main(url: str, jobs: int) -> None:
    """Measure on a PostgreSQL of this URL, and print."""
    settings = make_settings(database_url=url)
    await asyncio.to_thread(migrate.migrate, settings.database_url.get_secret_value())
    database = Database(settings, ring=lambda _topic, _key: None, pool=1)
    try:
        caller, _ = await make_project(database, Vault.of(settings), "bench")
        await asyncio.to_thread(fill, url, jobs)
        await _forget(database)
        counted = [await _ask(database, caller.project_id, by) for by in _ASKED]
        each = [seconds async for seconds in _fold(database)]
        _say(f"{len(each)} hours folded in {sum(each):.1f} s, one in {max(each):.2f} s at most")
        for by, (before, slow) in zip(_ASKED, counted, strict=True):
            after, quick = await _ask(database, caller.project_id, by)
            same = "the same" if before == after else "NOT THE SAME"
            _say(f"by {','.join(by) or 'nothing'}: {slow:.2f} s, folded {quick:.2f} s; {same}")
    finally:
        await database.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


async def _forget(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("DELETE FROM duties WHERE name = 'fold'"))
        await tx.execute(text("TRUNCATE usage_hours, usage_totals"))


async def _ask(
    database: Database, project_id: UUID, by: Sequence[Dimension]
) -> tuple[Report, float]:
    best = float("inf")
    for _ in range(_TIMES):
        async with database.transaction() as tx:
            await tx.execute(text("SET LOCAL statement_timeout = 0"))
            # Full hours alone, and the same ones each time.
            end = hours.whole(await usage.now(tx)) - timedelta(hours=2)
            began = time.perf_counter()
            found = await usage.report(
                tx, project_id, Period(end - timedelta(days=30), end, _ZONE), by
            )
            best = min(best, time.perf_counter() - began)
    return found, best


async def _fold(database: Database) -> AsyncIterator[float]:
    """Fold every hour that is over; returns the seconds of each."""
    more = True
    while more:
        began = time.perf_counter()
        async with database.transaction() as tx:
            more = await hours.fold(tx, timedelta(minutes=10))
        yield time.perf_counter() - began


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres.serve(Path(folder) / "postgres", durable=False) as server,
    ):
        asyncio.run(main(server.url, asked))
