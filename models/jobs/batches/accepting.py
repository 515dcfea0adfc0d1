"""(new) → running: a batch, its rows and their holds, as one transaction and one decision about money.

Rows come a slice at a time, as JSON that was written where they were checked: Postgres reads it, and this
process holds no more than a slice. Nobody sees a row before the commit, and nobody waits for it: the
windows of budgets, which are all that submissions share, are moved last.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.accounts import living
from models.accounts.callers import Caller
from models.errors import LimitReached, Unavailable
from models.jobs.batches import rows
from models.jobs.submission.candidates import demand_accepting
from models.jobs.submission.naming import demand_same
from models.money import budgets
from models.platform.db import Transaction
from models.schema import Batch
from models.states import BatchKind

Held = Mapping[str | None, int]  # credits, by customer
# A request's name, as that of a job: of these routes a batch itself has it.
Name = tuple[Literal["batch", "batch_retry"], str, bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a batch as a whole; `held` is what its rows hold from the start."""

    total: int
    held: Held
    kind: BatchKind = "batch"
    skipped: int = 0
    max_cost: int | None = None
    stop_after: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] | None = None
    retried_from: UUID | None = None


class _Foreseen(Exception):
    """There was room, and what was taken of it is given back."""


async def earlier(tx: Transaction, caller: Caller, idempotency: Name | None) -> UUID | None:
    """Return the batch that a request of this name made; raises `KeyReuse` when its body was another."""
    if idempotency is None:
        return None
    route, key, fingerprint = idempotency
    named = (Batch.idempotency_route == route, Batch.idempotency_key == key)
    made = await tx.scalar(select(Batch).where(Batch.project_id == caller.project_id, *named))
    made = demand_same(made, fingerprint, written)
    return None if made is None else made.id


async def demand_room(tx: Transaction, project_id: UUID, most: int) -> None:
    """Raise `LimitReached` where a project has as many batches that are not over as it may have.

    Groups do not count: they are in the queue, which has its own bound. Nor do batches that are being taken
    at this moment: as many more may come to be.
    """
    mine = Batch.project_id == project_id, Batch.kind == "batch", Batch.finished_at.is_(None)
    some = select(Batch.id).where(*mine).limit(most).subquery()
    if (await tx.scalar(select(func.count()).select_from(some)) or 0) >= most:
        raise LimitReached(
            f"This project has {most:,} batches that are not over, as many as it may. Wait for one to "
            "end, or cancel one; send more rows in one; or have DARKROOM_BATCHES_MAX raised."
        )


async def foresee(tx: Transaction, caller: Caller, held: Held) -> None:
    """Raise `BudgetExceeded` where the budgets have no room now, before anything is written."""
    with suppress(_Foreseen):
        async with tx.begin_nested():
            await budgets.take(tx, caller.project_id, caller.key_id, held)
            raise _Foreseen


async def accept(
    tx: Transaction,
    caller: Caller,
    order: Order,
    slices: AsyncIterator[str],
    *,
    idempotency: Name | None = None,
) -> tuple[UUID, bool]:
    """Make a batch of rows, each slice a JSON array of them; returns its id, and whether it was there.

    Raises `BudgetExceeded` when a budget has no room for all that its rows hold, and as `earlier`.
    """
    batch_id = await begin(tx, caller, order, idempotency)
    if batch_id is None:
        found = await earlier(tx, caller, idempotency)
        if found is None:  # who had the key has rolled back in between
            raise Unavailable(
                "A batch with this Idempotency-Key was just being refused; try again."
            )
        return found, True
    asked = rows.owned(caller, batch_id)
    async for some in slices:
        await tx.run(_ROWS, asked | {"rows": some})
    await budgets.take(tx, caller.project_id, caller.key_id, order.held)
    tx.ring("batches")
    return batch_id, False


async def begin(
    tx: Transaction, caller: Caller, order: Order, idempotency: Name | None
) -> UUID | None:
    """Write the row of a batch; None when one of this name is there already. Raises `ProjectSuspended`."""
    demand_accepting(caller)
    await living.demand_project(tx, caller.project_id)
    route, key, fingerprint = idempotency or (None, None, None)
    made = insert(Batch).values(
        id=ids.new(),
        project_id=caller.project_id,
        key_id=caller.key_id,
        kind=order.kind,
        total=order.total,
        skipped=order.skipped,
        max_cost=order.max_cost,
        stop_after=order.stop_after,
        meta=order.metadata,
        webhook_url=order.webhook_url,
        webhook_events=None if order.webhook_events is None else list(order.webhook_events),
        retried_from=order.retried_from,
        idempotency_route=route,
        idempotency_key=key,
        fingerprint=fingerprint,
        committed=sum(order.held.values()),
    )
    return await tx.scalar(made.on_conflict_do_nothing().returning(Batch.id))


def written(batch: Batch) -> str:
    """Write a batch's id as people see it."""
    return name(batch.kind, batch.id)


def name(kind: str, batch_id: UUID) -> str:
    """Write the id of a batch of this kind."""
    return ids.text(ids.GROUP if kind == "group" else ids.BATCH, batch_id)


_ROWS = rows.inserted("""
        SELECT id, r.row, custom_id, held, model, input, decode(input_hash, 'hex') AS input_hash, estimate,
               large, priority, coalesce(tags, ARRAY[]::text[]) AS tags,
               coalesce(metadata, '{}') AS metadata, customer, concurrency_key, webhook_url, webhook_events,
               queue_ttl * interval '1 second' AS queue_ttl, deadline, max_attempts, max_cost,
               on_unknown_charge, retried_from
          FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r (
               id uuid, row bigint, custom_id text, held bigint, model text,
               input jsonb, input_hash text, estimate bigint, large boolean, priority text, tags text[],
               metadata jsonb, customer text, concurrency_key text, webhook_url text,
               webhook_events text[], queue_ttl double precision, deadline timestamptz,
               max_attempts bigint, max_cost bigint, on_unknown_charge text, retried_from uuid)
""")
