"""(over) → (new): a batch of the rows that brought no image, with the same names, as they were."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from uuid import UUID

from sqlalchemy import select

from models import ids
from models.accounts.callers import Caller
from models.errors import Conflict
from models.jobs.batches.accepting import Name, Order, begin, demand_room, earlier, written
from models.jobs.batches.reading import find
from models.jobs.batches.rows import inserted, owned
from models.money import budgets, prices
from models.platform.db import Transaction
from models.provider.rates import Known
from models.schema import Batch, Job

_SLICE = 1_000  # rows of one statement


async def repeat(
    tx: Transaction,
    caller: Caller,
    batch_id: UUID,
    only: Collection[str],
    *,
    most: int,
    max_cost: int | None = None,
    key: str | None = None,
) -> tuple[UUID, bool]:
    """Make a new batch of the rows that ended so; returns its id, and whether an earlier request made it.

    `max_cost` is the old one's unless it is given. Deadlines have passed, and are not repeated. Raises
    `NotFound`, `Conflict` when no row ended so, `KeyReuse`, `BudgetExceeded`, and `LimitReached` where
    `most` batches of the project are not over.
    """
    name = _name(batch_id, only, max_cost, key)
    if (before := await earlier(tx, caller, name)) is not None:
        return before, True
    old = await find(tx, caller.project_id, batch_id)
    if old.kind == "batch":
        await demand_room(tx, caller.project_id, most)
    rows = await _rows(tx, old, only)
    order, holds = _order(old, rows, await prices.callable_models(tx), max_cost)
    made = await begin(tx, caller, order, name)
    if made is None:
        raise Conflict("Another request with this Idempotency-Key is making the batch just now.")
    await _insert(tx, caller, made, rows, holds)
    await budgets.take(tx, caller.project_id, caller.key_id, order.held)
    tx.ring("batches")
    return made, False


async def _insert(
    tx: Transaction,
    caller: Caller,
    batch_id: UUID,
    rows: Sequence[Job],
    holds: Sequence[tuple[int, int]],
) -> None:
    """Make the rows anew in this batch, each with its estimate and what it holds."""
    for at in range(0, len(rows), _SLICE):
        some = slice(at, at + _SLICE)
        asked: dict[str, object] = {
            "olds": [job.id for job in rows[some]],
            "ids": [ids.new() for _ in rows[some]],
            "rows": list(range(at + 1, at + 1 + len(rows[some]))),
            "estimates": [estimate for estimate, _ in holds[some]],
            "held": [held for _, held in holds[some]],
        }
        await tx.run(_ROWS, asked | owned(caller, batch_id))


async def _rows(tx: Transaction, old: Batch, only: Collection[str]) -> list[Job]:
    """Return the rows, kept from being erased until the transaction ends; raises `Conflict` for none."""
    wanted = (
        select(Job)
        .where(Job.batch_id == old.id, Job.status.in_(only), Job.erased_at.is_(None))
        .order_by(Job.batch_row)
        .with_for_update(read=True)
    )
    rows = list(await tx.scalars(wanted))
    if not rows:
        words = ", ".join(only)
        raise Conflict(f"No row of {written(old)} that may be repeated has {words} so far.")
    return rows


def _order(
    old: Batch, rows: list[Job], known: Mapping[str, Known], max_cost: int | None
) -> tuple[Order, list[tuple[int, int]]]:
    """Return the order, and what each row is estimated at and holds: in their order, while money lasts."""
    most = old.max_cost if max_cost is None else max_cost
    left, held = most, dict[str | None, int]()
    holds: list[tuple[int, int]] = []
    for job in rows:
        price = known[job.model].of(job.input) if job.model in known else job.estimate
        holding = price if left is None or price <= left else 0
        left = None if left is None else left - holding if holding else 0
        held[job.customer] = held.get(job.customer, 0) + holding
        holds.append((price, holding))
    order = Order(
        total=len(rows),
        held=held,
        kind="group" if old.kind == "group" else "batch",
        max_cost=most,
        stop_after=old.stop_after,
        metadata=old.meta,
        webhook_url=old.webhook_url,
        webhook_events=None if old.webhook_events is None else tuple(old.webhook_events),
        retried_from=old.id,
    )
    return order, holds


def _name(
    batch_id: UUID, only: Collection[str], max_cost: int | None, key: str | None
) -> Name | None:
    if key is None:
        return None
    said = repr((sorted(only), max_cost)).encode()
    return "batch_retry", key, sha256(batch_id.bytes + said).digest()


_ROWS = inserted("""
        SELECT r.id, r.row, j.custom_id, r.held, j.model, j.input, j.input_hash, r.estimate, j.large,
               j.priority, j.tags, j.metadata, j.customer, j.concurrency_key, j.webhook_url,
               j.webhook_events, j.queue_expires_at - j.created_at AS queue_ttl,
               CAST(NULL AS timestamptz) AS deadline, j.max_attempts,
               greatest(j.max_cost, r.estimate) AS max_cost, j.on_unknown_charge, j.id AS retried_from
          FROM unnest(CAST(:ids AS uuid[]), CAST(:olds AS uuid[]), CAST(:rows AS bigint[]),
                      CAST(:estimates AS bigint[]), CAST(:held AS bigint[]))
               AS r (id, old, row, estimate, held)
          JOIN jobs j ON j.id = r.old
""")
