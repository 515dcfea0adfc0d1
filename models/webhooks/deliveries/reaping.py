"""sending → pending: what was handed out and not sent comes back, and what nobody recorded in time."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    text,
    update,
)

from models.coordination import aside
from models.platform.db import Transaction
from models.platform.db.statements import Reader, Writer, given, prepared
from models.schema import Delivery
from models.webhooks import destinations

_TRIES_MAX = 20  # twice what a schedule has: deaths of workers are among them


async def reap(tx: Transaction, batch: int, only: UUID | None = None) -> int:
    """Take back deliveries whose lease has run out; return how many.

    A try that nobody took was never sent, so it does not count; one that was taken may have been sent:
    it counts, and is sent again at once (at least once). But a ping is sent once, and what has no record
    of so many tries would be sent for ever.
    """
    expired = _run_out(literal(batch)).with_for_update(skip_locked=True)
    if only is not None:
        expired = expired.where(Delivery.id == only)
    ping, endless = Delivery.destination.startswith(destinations.PING), _tries() >= _TRIES_MAX
    over = and_(or_(ping, endless), Delivery.taken_at.is_not(None))
    rows = await tx.execute(
        update(Delivery)
        .where(Delivery.id.in_(expired))
        .values(
            state=case((over, "exhausted"), else_="pending"),
            next_at=case((over, None), else_=func.now()),
            finished_at=case((over, func.now()), else_=None),
            lease_until=None,
            tries=Delivery.tries - cast(Delivery.taken_at.is_(None), Integer),
            taken_at=None,
        )
        .returning(Delivery.id)
    )
    return len(rows.all())


async def run_out(tx: Reader, batch: int) -> list[UUID]:
    """Return deliveries whose lease ran out, oldest first."""
    return [row["id"] for row in await tx.read(RUN_OUT, {"batch": batch})]


def _tries() -> ColumnElement[int]:
    return Delivery.tries - Delivery.tries_before


def _run_out(batch: ColumnElement[int]) -> Select[UUID]:
    return (
        select(Delivery.id)
        .where(
            Delivery.state == "sending",
            Delivery.lease_until < func.now(),
            ~aside.passed_by("deliveries", Delivery.id),
        )
        .order_by(Delivery.lease_until)
        .limit(batch)
    )


RUN_OUT = prepared(_run_out(given("batch", BigInteger())))


async def hand_back(tx: Writer, parcels: Sequence[tuple[UUID, int]]) -> None:
    """Put back what was woken and could not be published; nothing was sent, no try was spent."""
    ids, tries = [id_ for id_, _ in parcels], [n for _, n in parcels]
    await tx.run(_HAND_BACK, {"ids": ids, "tries": tries})


_HAND_BACK = prepared(
    text("""
    UPDATE deliveries SET state = 'pending', next_at = now(), lease_until = NULL, tries = tries - 1
      FROM unnest(CAST(:ids AS uuid[]), CAST(:tries AS bigint[])) AS mine (id, n)
     WHERE deliveries.id = mine.id AND tries = mine.n AND state || '' = 'sending' AND taken_at IS NULL
""")
)
