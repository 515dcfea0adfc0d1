"""A long batch in nobody's way: others wait a round at most, single jobs go first, and looks stay short.

Short in `make test`; with the 50,000 rows that a batch may have in `make long`.
"""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from models import ids, jobs
from models.accounts.callers import Caller
from models.jobs import batches
from models.jobs.batches import Order, counting, feeding
from models.jobs.queue import sharing
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.states import IN_BATCH, ROW_IN_QUEUE
from tests.conftest import make_project
from tests.fixtures.making import LEASE, NOTHING, PRICE, Bench
from tests.fixtures.plans import jobs_looked_at

_ROWS = [1_000, pytest.param(50_000, marks=pytest.mark.long)]
_ROW = {
    "row": 1, "custom_id": "r1", "held": PRICE, "model": "bytedance/seedream-5-0-lite-preview",
    "input": {"prompt": "a red fox"}, "input_hash": "00" * 32, "estimate": PRICE, "large": False,
    "priority": "bulk", "queue_ttl": 604_800, "max_attempts": 5, "max_cost": 2 * PRICE,
    "on_unknown_charge": "retry",
}  # fmt: skip
# As many copies of a batch's one row.
_COPIES = text("""
    INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority, queue_expires_at,
           max_attempts, max_cost, on_unknown_charge, estimate, held, waiting_reason, run_after, batch_id,
           batch_row, custom_id, allotted)
    SELECT gen_random_uuid(), project_id, key_id, rank, model, input, input_hash, priority,
           queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate, held, waiting_reason,
           run_after, batch_id, n, 'r' || n, allotted
      FROM jobs, generate_series(2, :n) n WHERE custom_id = 'r1'
""")

# The one batch as often again, its row in the queue.
_MANY = """
    WITH more AS (
        INSERT INTO batches (id, project_id, key_id, kind, total)
        SELECT gen_random_uuid(), project_id, key_id, kind, 1
          FROM batches, generate_series(2, :n) RETURNING id
    ), came AS (
        UPDATE jobs SET waiting_reason = 'queue', run_after = now() + interval '1 hour'
    )
    INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority, queue_expires_at,
           max_attempts, max_cost, on_unknown_charge, estimate, held, waiting_reason, run_after, batch_id,
           batch_row, custom_id, allotted)
    SELECT gen_random_uuid(), project_id, key_id, rank, model, input, input_hash, priority,
           queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate, held, 'queue',
           now() + interval '1 hour', more.id, batch_row, custom_id, allotted FROM jobs, more
"""


@pytest.fixture
def bench(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    return Bench(database, presenter, caller)


async def new_batch(bench: Bench, rows: int = 1) -> UUID:
    """Make a batch of so many rows, of which the first is there."""

    async def slices() -> AsyncIterator[str]:
        yield json.dumps([_ROW | {"id": str(ids.new())}])

    order = Order(total=rows, held={None: PRICE})
    batch, _ = await bench.do(lambda tx: batches.accept(tx, bench.caller, order, slices()))
    return batch


async def long_batch(bench: Bench, rows: int) -> UUID:
    """Make a batch of so many rows, of which the first have come into the queue."""
    batch = await new_batch(bench, rows)
    await bench.do(lambda tx: tx.execute(_COPIES, {"n": rows}))
    await bench.do(lambda tx: batches.advance(tx, bench.presenter, batch))
    return batch


@pytest.mark.parametrize("rows", _ROWS)
async def test_a_long_batch_delays_others_by_one_round_and_interactive_jobs_not_at_all(
    bench: Bench, database: Database, vault: Vault, rows: int
) -> None:
    batch = await long_batch(bench, rows)
    queued = f"SELECT count(*) AS n FROM jobs WHERE {IN_BATCH} AND {ROW_IN_QUEUE}"  # noqa: S608 - ours
    assert (await bench.rows(queued))[0]["n"] == feeding.WINDOW
    other = Bench(database, bench.presenter, (await make_project(database, vault, "other"))[0])
    assert len(await dispatched(bench, 40)) == 40
    single = await other.submit(priority="bulk")
    mine = [await bench.submit(priority=each) for each in ("standard", "interactive")]
    first = await dispatched(bench, 2)
    assert set(first) == {single, mine[1]}
    assert await dispatched(bench, 1) == mine[:1]
    await bench.do(lambda tx: batches.advance(tx, bench.presenter, batch))


@pytest.mark.parametrize("rows", _ROWS)
async def test_looks_beside_a_long_batch_see_its_window_and_not_its_rows(
    bench: Bench, rows: int
) -> None:
    batch = await long_batch(bench, rows)
    await bench.run("ANALYZE jobs")
    places = {
        "slots": 40, "calls": 40, "free": 40, "lease": LEASE, "typical_call": NOTHING,
        "but_jobs": [], "but_projects": [], "whatever": True, "probing": False,
    }  # fmt: skip
    half: dict[str, object] = {"limit": 50, "half": feeding.WINDOW // 2}
    assert await jobs_looked_at(bench, sharing.CALLS, places) < 300
    assert await jobs_looked_at(bench, sharing.PAID, places) < 300
    assert await jobs_looked_at(bench, batches.DUE, half) <= 2 * feeding.WINDOW
    assert await jobs_looked_at(bench, counting._TELL_OFF, {"batch": batch, "most": 500}) < 10  # noqa: SLF001 - likewise
    of_batch = {"batch": batch, "most": 40, "priority": None, "lead": timedelta(0)}
    assert await jobs_looked_at(bench, feeding._FEED, of_batch) <= 200  # noqa: SLF001 - likewise


async def test_batches_are_seen_to_in_turns_of_their_projects(
    bench: Bench, database: Database, vault: Vault
) -> None:
    mine = [await new_batch(bench) for _ in range(3)]
    other = Bench(database, bench.presenter, (await make_project(database, vault, "other"))[0])
    theirs = [await new_batch(other) for _ in range(2)]
    found = await batches.due(database.direct, 4)
    assert found == [mine[0], theirs[0], mine[1], theirs[1]]
    assert await batches.due(database.direct, 50) == [*found, mine[2]]


async def test_a_look_beside_many_batches_that_go_on_by_themselves_sees_none_of_their_jobs(
    bench: Bench,
) -> None:
    await new_batch(bench)
    await bench.run(_MANY, n=300)
    await bench.run("ANALYZE jobs, batches")
    asked: dict[str, object] = {"limit": 50, "half": batches.HALF}
    assert await bench.do(lambda tx: batches.due(tx, 50)) == []
    assert await jobs_looked_at(bench, batches.DUE, asked) < 10


async def dispatched(bench: Bench, slots: int) -> list[UUID]:
    found = await bench.do(
        lambda tx: jobs.dispatch(
            tx, slots, lease=LEASE, typical_call=NOTHING, bounds=jobs.Bounds(free=10_000)
        )
    )
    return [each.job_id for each in found]
