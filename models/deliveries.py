"""Deliveries: one event on its way to one URL.

The dispatcher wakes what is due (`wake`), a worker takes it (`take`), sends it, and records the try
(`record`). `take` and `record` are guarded by the number of the try: two workers with one message send
it once, and a late one moves nothing.

    pending ──wake──► sending ──record──► delivered | exhausted | blocked | aborted
       ▲                 │
       └─── next try ────┘            held: the endpoint is disabled; kept for replay
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Integer, and_, cast, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from models import endpoints, projects
from models.db import Transaction
from models.schema import Delivery, DeliveryTry, Event
from models.states import DeliveryState
from models.vault import Vault

_LANE_CAP = 8  # tries that one endpoint may have in flight: a hanging one must not take every slot


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery in the hands of a worker: what to send, where, and which try this is."""

    delivery_id: UUID
    number: int
    event_id: UUID
    url: str
    endpoint: bool  # a registered endpoint, not a job's own URL
    body: bytes
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """A delivery as the log shows it: with its event's type, and every try."""

    delivery: Delivery
    type: str
    tries: Sequence[DeliveryTry]


@dataclass(frozen=True, slots=True)
class Try:
    """What one try met. `state` and `next_in` say what follows from it."""

    state: DeliveryState
    result: str
    http_status: int | None
    latency: timedelta
    next_in: timedelta | None = None
    endpoint: Literal["keep", "disable"] = "keep"


async def wake(tx: Transaction, slots: int, lease: timedelta) -> list[tuple[UUID, int]]:
    """Hand out what is due, oldest first, at most `_LANE_CAP` in flight per lane.

    Gives pairs of delivery and number of the try. The dispatcher publishes them after the commit.
    """
    if slots <= 0:
        return []
    rows = await tx.execute(_WAKE, {"slots": slots, "lease": lease, "cap": _LANE_CAP})
    return [(row.id, row.tries) for row in rows]


# Every lane is looked at by itself: a backlog of one must not hide what is due in the others.
_WAKE = text("""
    WITH lanes AS (
        SELECT DISTINCT lane FROM deliveries WHERE state = 'pending' AND next_at <= now()
    ), busy AS (
        SELECT lane, count(*) AS n FROM deliveries WHERE state = 'sending' GROUP BY lane
    ), chosen AS (
        SELECT first.id FROM lanes LEFT JOIN busy USING (lane)
         CROSS JOIN LATERAL (
               SELECT id, next_at FROM deliveries
                WHERE lane = lanes.lane AND state = 'pending' AND next_at <= now()
                ORDER BY next_at LIMIT greatest(:cap - coalesce(busy.n, 0), 0)
               ) first
         ORDER BY first.next_at LIMIT :slots
    ), picked AS (
        SELECT id FROM deliveries
         WHERE id IN (SELECT id FROM chosen) AND state = 'pending'
           FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries SET state = 'sending', tries = tries + 1, next_at = NULL,
                          taken_at = NULL, lease_until = now() + :lease
      FROM picked WHERE deliveries.id = picked.id
    RETURNING deliveries.id, deliveries.tries
""")


async def take(
    tx: Transaction, vault: Vault, delivery_id: UUID, number: int, lease: timedelta
) -> Parcel | None:
    """Take a delivery for this try; None when somebody else has it, or it was called off.

    An endpoint that was disabled or deleted since the delivery was woken gets nothing any more.
    """
    taken = (
        await tx.scalars(
            update(Delivery)
            .where(
                Delivery.id == delivery_id,
                Delivery.state == "sending",
                Delivery.tries == number,
                Delivery.taken_at.is_(None),
            )
            .values(taken_at=func.now(), lease_until=func.now() + lease)
            .returning(Delivery)
        )
    ).one_or_none()
    if taken is None or await endpoints.call_off(tx, taken, spent=1):
        return None
    body = await tx.scalar(select(Event.body).where(Event.id == taken.event_id))
    if taken.endpoint_id is None:
        secrets = await projects.webhook_secrets(tx, vault, taken.project_id)
    else:
        secrets = await endpoints.secrets(tx, vault, taken.endpoint_id)
    registered = taken.endpoint_id is not None
    return Parcel(delivery_id, number, taken.event_id, taken.url, registered, body or b"", secrets)


async def record(tx: Transaction, delivery_id: UUID, number: int, at: datetime, tried: Try) -> bool:
    """Write what a try met and what follows; False when this try is no longer the current one."""
    later = tried.state == "pending"
    moved = (
        await tx.scalars(
            update(Delivery)
            .where(
                Delivery.id == delivery_id, Delivery.state == "sending", Delivery.tries == number
            )
            .values(
                state=tried.state,
                lease_until=None,
                taken_at=None,
                next_at=func.now() + tried.next_in if later else None,
                finished_at=None if later or tried.state == "held" else func.now(),
            )
            .returning(Delivery)
        )
    ).one_or_none()
    await tx.execute(
        insert_or_skip(DeliveryTry)
        .values(
            delivery_id=delivery_id,
            number=number,
            at=at,
            http_status=tried.http_status,
            latency_ms=round(tried.latency.total_seconds() * 1000),
            result=tried.result,
        )
        .on_conflict_do_nothing()
    )
    if moved is None:
        return False
    tx.ring("deliveries")  # a place in the lane is free
    if tried.endpoint == "disable" and moved.endpoint_id is not None:
        await endpoints.disable(tx, moved.endpoint_id, tried.result)
    elif tried.endpoint == "disable":
        await _end_job_urls(tx, moved)
    elif later:
        await endpoints.call_off(tx, moved, spent=0)
    return True


async def reap(tx: Transaction, batch: int) -> int:
    """Take back deliveries whose lease ran out; gives how many.

    A try that nobody took was never sent, so it does not count; one that was taken may have been sent:
    it counts, and is sent again at once (at least once).
    """
    expired = (
        select(Delivery.id)
        .where(Delivery.state == "sending", Delivery.lease_until < func.now())
        .order_by(Delivery.lease_until)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    rows = await tx.execute(
        update(Delivery)
        .where(Delivery.id.in_(expired))
        .values(
            state="pending",
            next_at=func.now(),
            lease_until=None,
            tries=Delivery.tries - cast(Delivery.taken_at.is_(None), Integer),
            taken_at=None,
        )
        .returning(Delivery.id)
    )
    return len(rows.all())


async def hand_back(tx: Transaction, parcels: Sequence[tuple[UUID, int]]) -> None:
    """Put back what was woken and could not be published; nothing was sent, no try was spent."""
    mine = or_(*(and_(Delivery.id == id_, Delivery.tries == n) for id_, n in parcels))
    await tx.execute(
        update(Delivery)
        .where(Delivery.state == "sending", Delivery.taken_at.is_(None), mine)
        .values(state="pending", next_at=func.now(), lease_until=None, tries=Delivery.tries - 1)
    )


async def log(
    tx: Transaction, *, endpoint_id: UUID | None = None, job_id: UUID | None = None
) -> list[Logged]:
    """Give the newest 100 deliveries of an endpoint or a job: each with its event's type and tries."""
    where = Delivery.job_id == job_id if job_id else Delivery.endpoint_id == endpoint_id
    rows = (
        await tx.execute(
            select(Delivery, Event.type)
            .join(Event, Event.id == Delivery.event_id)
            .where(where)
            .order_by(Delivery.id.desc())
            .limit(100)
        )
    ).all()
    tries = await tx.scalars(
        select(DeliveryTry)
        .where(DeliveryTry.delivery_id.in_([delivery.id for delivery, _ in rows]))
        .order_by(DeliveryTry.delivery_id, DeliveryTry.number)
    )
    grouped: dict[UUID, list[DeliveryTry]] = {}
    for each in tries:
        grouped.setdefault(each.delivery_id, []).append(each)
    return [Logged(delivery, type_, grouped.get(delivery.id, [])) for delivery, type_ in rows]


async def _end_job_urls(tx: Transaction, told: Delivery) -> None:
    """Abort what else is pending for a job's own URL, which has said that it wants no more."""
    await tx.execute(
        update(Delivery)
        .where(
            Delivery.job_id == told.job_id,
            Delivery.endpoint_id.is_(None),
            Delivery.state == "pending",
        )
        .values(state="aborted", next_at=None, finished_at=func.now())
    )
