"""What a try of a delivery leaves behind: the line in the log, and what follows from it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import func, text, update

from models.platform.db import Transaction
from models.platform.db.statements import prepared
from models.schema import Delivery
from models.states import DeliveryState
from models.webhooks import destinations, endpoints
from models.webhooks.deliveries.disabling import Patience, disable, impatience, rest

_AT_ONCE = timedelta(0)
_UNFINISHED = frozenset({"pending", "held"})


@dataclass(frozen=True, slots=True)
class TryResult:
    """What one try met. `state` and `next_in` say what follows, `pause` slows its destination down."""

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
    sent = await tx.get(Delivery, delivery_id)
    if sent is None:
        return None
    # By hand it is sent once, and then as the others are.
    destination = destinations.usual(sent.destination)
    fate = _Fate(tried.state)
    if sent.state == "sending" and sent.tries == number:
        fate = await _fate(tx, sent, tried, patience)
    follows = {
        "state": fate.state,
        "lane": destination,
        "next_in": fate.next_in if fate.state == "pending" else None,
        "finished": fate.state not in _UNFINISHED,
    }
    if await tx.first(_RECORD, _values(delivery_id, number, at, tried) | follows) is None:
        return None
    tx.ring("delivery", str(delivery_id))
    tx.ring("deliveries")  # a place in the destination is free
    if not destinations.is_ping(sent.destination):
        await _tell_others(tx, sent, tried, fate)
        await _slow_or_recover(tx, sent, fate, by_hand=destination != sent.destination)
    return fate.state


async def _fate(tx: Transaction, sent: Delivery, tried: TryResult, patience: Patience) -> _Fate:
    """Return what follows from a try.

    A failed one takes its endpoint's row, and so sees what others made of it; a good one needs nothing of
    it.
    """
    if destinations.is_ping(sent.destination) and tried.state in _UNFINISHED:
        return _Fate("exhausted")
    if sent.endpoint_id is None or tried.state in {"delivered", "aborted"}:
        return _Fate(tried.state, tried.next_in, pause=tried.pause)
    if destinations.is_ping(sent.destination):
        return _Fate(tried.state)
    endpoint = await endpoints.take(tx, sent.endpoint_id)
    if endpoint.enabled and endpoint.url != sent.url:
        return _Fate("pending", _AT_ONCE)  # what was met at a URL that it has left does not count
    if not endpoint.enabled:
        gone: DeliveryState = "aborted" if endpoint.deleted_at is not None else "held"
        return _Fate(gone if tried.state in _UNFINISHED else tried.state)
    pause = rest(endpoint, tried.pause)
    reason = await impatience(tx, endpoint, sent, patience, tried.result)
    if tried.endpoint == "disable":
        reason = tried.result
    state = "held" if reason is not None and tried.state in _UNFINISHED else tried.state
    return _Fate(state, tried.next_in, reason, pause)


def _values(delivery_id: UUID, number: int, at: datetime, tried: TryResult) -> dict[str, object]:
    return {
        "delivery": delivery_id,
        "number": number,
        "at": at,
        "http_status": tried.http_status,
        "latency": round(tried.latency.total_seconds() * 1000),
        "result": tried.result,
    }


async def _tell_others(tx: Transaction, sent: Delivery, tried: TryResult, fate: _Fate) -> None:
    """Apply a try's effect to the endpoint, and to the job's other deliveries."""
    if sent.endpoint_id is None:
        if tried.endpoint == "disable":
            await _end_job_urls(tx, sent)
    elif fate.reason is not None:
        await disable(tx, sent.endpoint_id, fate.reason)
    elif fate.state == "delivered":
        await endpoints.recover(tx, sent.endpoint_id)


async def _slow_or_recover(tx: Transaction, sent: Delivery, fate: _Fate, *, by_hand: bool) -> None:
    """Apply a try's effect to the destination; of one that was sent by hand, to the usual one."""
    destination = destinations.usual(sent.destination)
    if fate.pause is not None and sent.endpoint_id is None:
        await destinations.slow_origin(tx, destination, sent.project_id, sent.url, fate.pause)
    elif fate.pause is not None:
        await destinations.slow(tx, destination, fate.pause)
    elif fate.state == "delivered" and by_hand:
        for paused in (destination, destinations.of_url(sent.project_id, sent.url)):
            await destinations.resume(tx, paused)
    elif fate.state == "delivered":
        await destinations.recover(tx, destination)


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


# A line of the log of tries; one that is written twice is there once. Two tries have one number where a
# crash of Postgres took back that the first was begun: the one that decides is in the log.
LOGGED = """
        INSERT INTO delivery_tries (delivery_id, number, at, http_status, latency_ms, result)
        SELECT {tried}
            ON CONFLICT (delivery_id, number) DO UPDATE
               SET at = excluded.at, http_status = excluded.http_status,
                   latency_ms = excluded.latency_ms, result = excluded.result
             WHERE {decides}"""
_TRIED = LOGGED.format(
    tried=":delivery, :number, :at, :http_status, :latency, :result",
    decides="EXISTS (SELECT FROM moved)",
)
_RECORD = prepared(
    text(f"""
    WITH moved AS (
        UPDATE deliveries d SET state = :state, lane = :lane, lease_until = NULL, taken_at = NULL,
               next_at = now() + CAST(:next_in AS interval),
               finished_at = CASE WHEN :finished THEN now() END
         WHERE id = :delivery AND state || '' = 'sending' AND tries = :number
        RETURNING id
    ), tried AS ({_TRIED}
    )
    SELECT id FROM moved
""")  # noqa: S608 - constants of ours
)
