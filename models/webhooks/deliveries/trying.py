"""One try of a delivery: who may make it (`take`), and what it leaves behind (`record`)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from models.accounts import projects
from models.platform.db import Transaction
from models.platform.vault import Vault
from models.schema import Delivery, DeliveryTry, Endpoint, Event
from models.states import DeliveryState
from models.webhooks import endpoints, lanes
from models.webhooks.deliveries.disabling import Patience, disable, impatience

_AT_ONCE = timedelta(0)
_UNFINISHED = frozenset({"pending", "held"})


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery in the hands of a worker: what to send, where, and which try this is.

    `number` counts all tries of the delivery, `nth` those of its present schedule.
    """

    delivery_id: UUID
    project_id: UUID
    job_id: UUID | None
    number: int
    nth: int
    event_id: UUID
    url: str
    endpoint: bool  # a registered endpoint, not a job's own URL
    ping: bool  # sent once, whatever comes of it
    body: bytes
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TryResult:
    """What one try met. `state` and `next_in` say what follows from it, `pause` slows its lane down."""

    state: DeliveryState
    result: str
    http_status: int | None
    latency: timedelta
    next_in: timedelta | None = None
    endpoint: Literal["keep", "disable"] = "keep"
    pause: timedelta | None = None


@dataclass(frozen=True, slots=True)
class _Fate:
    """What becomes of a delivery, once its endpoint is known; `reason` is why that one is disabled."""

    state: DeliveryState
    next_in: timedelta | None = None
    reason: str | None = None
    pause: timedelta | None = None


async def take(
    tx: Transaction, vault: Vault, delivery_id: UUID, number: int, lease: timedelta
) -> ClaimedDelivery | None:
    """Take a delivery for this try; None when somebody else has it, or it was called off.

    An endpoint that was disabled or deleted since the delivery was woken gets nothing any more, and one
    that moved gets it at its new URL.
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
    if taken is None:
        return None
    secrets = await _address(tx, vault, taken)
    if secrets is None:
        return None
    body = await tx.scalar(select(Event.body).where(Event.id == taken.event_id))
    return ClaimedDelivery(
        delivery_id=delivery_id,
        project_id=taken.project_id,
        job_id=taken.job_id,
        number=number,
        nth=number - taken.tries_before,
        event_id=taken.event_id,
        url=taken.url,
        endpoint=taken.endpoint_id is not None,
        ping=lanes.is_ping(taken.lane),
        body=body or b"",
        secrets=secrets,
    )


async def record(
    tx: Transaction,
    delivery_id: UUID,
    number: int,
    at: datetime,
    tried: TryResult,
    patience: Patience,
) -> DeliveryState | None:
    """Write what a try met and what follows; None when this try is no longer the current one.

    Returns the state that the delivery came to: `held` or `aborted` when its endpoint went meanwhile. The
    try is in the log in any case.
    """
    sent = await tx.get(Delivery, delivery_id, populate_existing=True)
    if sent is None:
        return None
    fate, by_hand = None, lanes.usual(sent.lane) != sent.lane
    if sent.state == "sending" and sent.tries == number:
        fate = await _fate(tx, sent, tried, patience)
        fate = fate if await _move(tx, sent, number, fate) else None
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
    if fate is None:
        return None
    tx.ring("delivery", str(delivery_id))
    tx.ring("deliveries")  # a place in the lane is free
    if not lanes.is_ping(sent.lane):
        await _tell_others(tx, sent, tried, fate)
        await _slow_or_recover(tx, sent, fate, by_hand=by_hand)
    return fate.state


async def _address(tx: Transaction, vault: Vault, taken: Delivery) -> tuple[str, ...] | None:
    """Return the secrets of whoever is to get this; None when it was called off, and no try was spent."""
    if taken.endpoint_id is None:
        until = await _url_pause(tx, taken)
        if until is None:
            return await projects.webhook_secrets(tx, vault, taken.project_id)
        await _put_back(tx, taken, "pending", next_at=until)
        return None
    endpoint = await tx.get_one(Endpoint, taken.endpoint_id)
    gone = endpoint.deleted_at is not None
    if gone or not (endpoint.enabled or lanes.is_ping(taken.lane)):
        await _put_back(tx, taken, "aborted" if gone else "held", gone=gone)
        return None
    if taken.url != endpoint.url:
        taken.url = endpoint.url
        await tx.flush()
    own = endpoints.secrets(vault, endpoint, datetime.now(UTC))
    if not endpoint.project_secret:
        return own
    return await projects.webhook_secrets(tx, vault, taken.project_id) + own


async def _url_pause(tx: Transaction, taken: Delivery) -> datetime | None:
    """Return until when a job's own URL has asked to be left alone, unless this is sent by hand."""
    if lanes.usual(taken.lane) != taken.lane:
        return None
    return await lanes.paused_until(tx, lanes.of_url(taken.project_id, taken.url))


async def _put_back(
    tx: Transaction,
    taken: Delivery,
    state: DeliveryState,
    *,
    next_at: datetime | None = None,
    gone: bool = False,
) -> None:
    await tx.execute(
        update(Delivery)
        .where(Delivery.id == taken.id)
        .values(
            state=state,
            lane=lanes.usual(taken.lane),
            tries=Delivery.tries - 1,
            next_at=next_at,
            lease_until=None,
            taken_at=None,
            finished_at=func.now() if gone else None,
        )
    )
    tx.ring("delivery", str(taken.id))
    tx.ring("deliveries")  # a place in the lane is free


async def _fate(tx: Transaction, sent: Delivery, tried: TryResult, patience: Patience) -> _Fate:
    """Say what follows from a try.

    A failed one takes its endpoint's row, and so sees what others made of it; a good one needs nothing of
    it.
    """
    if lanes.is_ping(sent.lane) and tried.state in _UNFINISHED:
        return _Fate("exhausted")
    if sent.endpoint_id is None or tried.state in {"delivered", "aborted"}:
        return _Fate(tried.state, tried.next_in, pause=tried.pause)
    if lanes.is_ping(sent.lane):
        return _Fate(tried.state)
    endpoint = await endpoints.take(tx, sent.endpoint_id)
    if endpoint.enabled and endpoint.url != sent.url:
        return _Fate("pending", _AT_ONCE)  # what was met at a URL that it has left does not count
    if not endpoint.enabled:
        gone: DeliveryState = "aborted" if endpoint.deleted_at is not None else "held"
        return _Fate(gone if tried.state in _UNFINISHED else tried.state)
    reason = await impatience(tx, endpoint, sent, patience, tried.result)
    if tried.endpoint == "disable":
        reason = tried.result
    state = "held" if reason is not None and tried.state in _UNFINISHED else tried.state
    return _Fate(state, tried.next_in, reason, tried.pause)


async def _move(tx: Transaction, sent: Delivery, number: int, fate: _Fate) -> bool:
    moved = await tx.execute(
        update(Delivery)
        .where(Delivery.id == sent.id, Delivery.state == "sending", Delivery.tries == number)
        .values(
            state=fate.state,
            lane=lanes.usual(sent.lane),  # by hand it is sent once, and then as the others are
            lease_until=None,
            taken_at=None,
            next_at=func.now() + fate.next_in if fate.state == "pending" else None,
            finished_at=None if fate.state in _UNFINISHED else func.now(),
        )
        .returning(Delivery.id)
    )
    return moved.one_or_none() is not None


async def _tell_others(tx: Transaction, sent: Delivery, tried: TryResult, fate: _Fate) -> None:
    """Let a try have its effect on the endpoint, and on the job's other deliveries."""
    if sent.endpoint_id is None:
        if tried.endpoint == "disable":
            await _end_job_urls(tx, sent)
    elif fate.reason is not None:
        await disable(tx, sent.endpoint_id, fate.reason)
    elif fate.state == "delivered":
        await endpoints.recover(tx, sent.endpoint_id)


async def _slow_or_recover(tx: Transaction, sent: Delivery, fate: _Fate, *, by_hand: bool) -> None:
    """Let a try have its effect on the lane; one that was sent by hand has it on the usual one."""
    lane = lanes.usual(sent.lane)
    if fate.pause is not None and sent.endpoint_id is None:
        await lanes.slow_origin(tx, lane, sent.project_id, sent.url, fate.pause)
    elif fate.pause is not None:
        await lanes.slow(tx, lane, fate.pause)
    elif fate.state == "delivered" and by_hand:
        for paused in (lane, lanes.of_url(sent.project_id, sent.url)):
            await lanes.resume(tx, paused)
    elif fate.state == "delivered":
        await lanes.recover(tx, lane)


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
