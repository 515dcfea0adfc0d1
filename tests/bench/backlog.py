"""What it costs to choose the next jobs: with a million of them waiting, and with a thousand.

By hand: `python -m tests.bench.backlog [JOBS]`. It prints the time of the statement that dispatches, for as
many projects in both cases, and what PostgreSQL says of it; `--plan` prints the whole plan.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local.servers import postgres
from models import jobs
from models.jobs.queue import sharing
from models.platform.db import Database, migrate
from models.platform.vault import Vault
from tests.bench.figures import Figure
from tests.conftest import make_project, make_settings

PROJECTS, SLOTS = 1_000, 40
_ROUNDS = 21
_LEASE, _CALL = timedelta(seconds=30), timedelta(seconds=45)

_FILL = (
    """INSERT INTO projects (id, name, webhook_secret)
    SELECT gen_random_uuid(), 'project ' || n, webhook_secret
      FROM projects, generate_series(2, %(projects)s::int) n WHERE name = 'bench'""",
    """INSERT INTO jobs (id, project_id, key_id, rank, created_at, model, input, input_hash, priority,
           queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate, waiting_reason, held)
    SELECT gen_random_uuid(), ids[1 + n %% cardinality(ids)], api_keys.id,
           now() - n * interval '1 ms', now() - n * interval '1 ms', 'bytedance/seedream-5-0-lite-preview',
           jsonb_build_object('prompt', 'a red bicycle, number ' || n), sha256(n::text::bytea),
           'standard', now() + interval '7 days', 5, 182000, 'retry', 91000, 'queue', 91000
      FROM api_keys, (SELECT array_agg(id ORDER BY id) AS ids FROM projects) p,
           generate_series(1, %(jobs)s::int) n""",
)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    numbers = [int(each) for each in arguments if each.isdigit()]
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres.serve(Path(folder) / "postgres", durable=False) as server,
    ):
        plan = "--plan" in arguments
        lines = asyncio.run(_report(server.url, (numbers or [1_000_000])[0], plan=plan))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


async def measure(server: str, jobs: int) -> Figure:
    """Compare this many queued jobs with one for each project, on a PostgreSQL of this URL."""
    small, large = [min((await _look(server, each)).seconds) for each in (PROJECTS, jobs)]
    return Figure(
        f"release of {SLOTS} of {jobs:,} queued jobs", f"of {PROJECTS:,}, of as many projects",
        large / small, 1.2, "less", raw=f"{1000 * large:.1f} ms : {1000 * small:.1f} ms",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    seconds: list[float]
    plan: list[str]


async def _report(server: str, jobs: int, *, plan: bool) -> list[str]:
    lines = []
    for each in (PROJECTS, jobs):
        seen = await _look(server, each)
        times = [1000 * each for each in seen.seconds]
        lines.append(
            f"{each:,} queued jobs of {PROJECTS:,} projects, {SLOTS} places: a release takes "
            f"{statistics.median(times):.1f} ms (median of {len(times)}; {min(times):.1f} to "
            f"{max(times):.1f}); EXPLAIN ANALYZE of its choice:"
        )
        lines += [f"    {row}" for row in seen.plan if plan or " Time:" in row]
    return lines


async def _look(server: str, jobs_: int) -> _Seen:
    """Fill a database of its own, and dispatch from it; each dispatch is taken back."""
    name = f"backlog_{jobs_}"
    settings = make_settings(database_url=f"{server.rpartition('/')[0]}/{name}")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    await asyncio.to_thread(migrate.migrate, settings.database_url.get_secret_value())
    database = Database(settings, ring=lambda _topic, _key: None, pool=1)
    try:
        await make_project(database, Vault.of(settings), "bench")
        with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as filling:
            for statement in _FILL:
                filling.execute(statement, {"projects": PROJECTS, "jobs": jobs_})
            filling.execute("VACUUM ANALYZE")
        seconds = [await _dispatch(database) for _ in range(_ROUNDS)]
        return _Seen(seconds, await _explain(database))
    finally:
        await database.close()
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


async def _dispatch(database: Database) -> float:
    """Dispatch once and roll back; returns the seconds that it took."""
    with suppress(_TakenBack):
        async with database.transaction() as tx:
            began = time.perf_counter()
            dispatched = await jobs.dispatch(tx, SLOTS, lease=_LEASE, typical_call=_CALL)
            took = time.perf_counter() - began
            if len(dispatched) != SLOTS:
                raise RuntimeError(f"{len(dispatched)} jobs were released, not {SLOTS}")
            raise _TakenBack
    return took


async def _explain(database: Database) -> list[str]:
    asked = {"calls": SLOTS, "free": SLOTS, "lease": _LEASE, "typical_call": _CALL,
             "but_jobs": [], "but_projects": [], "whatever": True, "probing": False}  # fmt: skip
    rows: list[str] = []
    with suppress(_TakenBack):
        async with database.transaction() as tx:
            await tx.run(sharing.PREPARE, {})
            found = await tx.run(b"EXPLAIN (ANALYZE, BUFFERS) " + sharing.CALLS, asked)
            rows = [str(row["QUERY PLAN"]) for row in found]
            raise _TakenBack
    return rows


class _TakenBack(Exception):
    """Rolls back what was done only to be measured."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
