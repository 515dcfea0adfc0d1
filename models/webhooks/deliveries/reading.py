"""The log of deliveries: every try, and when the next one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, Select, and_, func, select
from sqlalchemy.orm import aliased

from models.errors import NotFound
from models.platform.db import Transaction
from models.schema import Delivery, DeliveryTry, Event, Throttle
from models.states import DeliveryState
from models.webhooks import destinations


@dataclass(frozen=True, slots=True)
class Logged:
    """A delivery as the log shows it: with its event's type, and every try.

    `next_try_at` is when it may be tried at the soonest: the later of its own time and its destination's
    pause.
    """

    delivery: Delivery
    type: str
    tries: Sequence[DeliveryTry]
    next_try_at: datetime | None


async def log(
    tx: Transaction,
    *,
    endpoint_id: UUID | None = None,
    job_id: UUID | None = None,
    states: Sequence[DeliveryState] = (),
    before: UUID | None = None,
    limit: int = 100,
) -> tuple[list[Logged], bool]:
    """Return deliveries of an endpoint or a job, newest first, and whether there are more.

    `before` is the id of the last that was seen; no `states` means every one.
    """
    wanted = _SHOWN.where(
        Delivery.job_id == job_id if job_id else Delivery.endpoint_id == endpoint_id
    )
    if states:
        wanted = wanted.where(Delivery.state.in_(states))
    if before is not None:
        wanted = wanted.where(Delivery.id < before)
    found = (await tx.execute(wanted.order_by(Delivery.id.desc()).limit(limit + 1))).all()
    return await _with_tries(tx, found[:limit]), len(found) > limit


async def crowded(tx: Transaction, project_id: UUID, most: int) -> bool:
    """Return whether so many deliveries of a project wait to be made; it counts no further."""
    waits = Delivery.project_id == project_id, Delivery.state == "pending"
    last = select(Delivery.next_at).where(*waits).offset(most - 1).limit(1)
    return await tx.scalar(last) is not None


async def read(tx: Transaction, project_id: UUID, delivery_id: UUID | None) -> Logged:
    """Return one delivery; raises `NotFound`, also for another project's."""
    wanted = _SHOWN.where(Delivery.id == delivery_id, Delivery.project_id == project_id)
    found = (await tx.execute(wanted)).all()
    if not found:
        raise NotFound("There is no such delivery in this project.")
    return (await _with_tries(tx, found))[0]


_OfUrl = aliased(Throttle)
_SHOWN: Select[Delivery, str, datetime | None] = (
    select(
        Delivery,
        Event.type,
        func.greatest(Delivery.next_at, Throttle.paused_until, _OfUrl.paused_until),
    )
    .join(Event, Event.id == Delivery.event_id)
    .outerjoin(Throttle, Throttle.destination == Delivery.destination)
    .outerjoin(
        _OfUrl,
        and_(
            Delivery.endpoint_id.is_(None),
            ~Delivery.destination.startswith(destinations.HAND),
            _OfUrl.destination == destinations.of_url_in_sql(Delivery.project_id, Delivery.url),
        ),
    )
)


async def _with_tries(
    tx: Transaction, found: Sequence[Row[Delivery, str, datetime | None]]
) -> list[Logged]:
    tries = await tx.scalars(
        select(DeliveryTry)
        .where(DeliveryTry.delivery_id.in_([row[0].id for row in found]))
        .order_by(DeliveryTry.delivery_id, DeliveryTry.number)
    )
    grouped: dict[UUID, list[DeliveryTry]] = {}
    for each in tries:
        grouped.setdefault(each.delivery_id, []).append(each)
    return [
        Logged(
            delivery, type_, grouped.get(delivery.id, []), None if delivery.next_at is None else at
        )
        for delivery, type_, at in found
    ]
