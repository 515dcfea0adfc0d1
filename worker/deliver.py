"""A delivery on one page: take → sign and POST → record. Deliveries are taken by the bundle.

The same bytes and the same id on every try; the signature is of this try's time. What an answer means
is one table (`judge`), from status and headers to a `TryResult`.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from models.coordination.workers import BUNDLE
from models.errors import EgressRefused, Unavailable
from models.ids import DELIVERY, EVENT, JOB, PROJECT, text
from models.platform.db.absences import is_refusal
from models.settings import Settings
from models.states import DeliveryState
from models.webhooks import deliveries
from models.webhooks.deliveries import ClaimedDelivery, Patience, Tried, TryResult
from models.webhooks.signing import sign
from worker.backoff import next_try, parse_retry_after, pause
from worker.egress.connection import Unreachable
from worker.egress.guarded import Answer
from worker.runtime import metrics
from worker.runtime.context import Context, whose
from worker.runtime.gathering import Gathering
from worker.runtime.persistence import persist, said

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Met = Answer | Unreachable | EgressRefused

_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
_GONE = 410
_BUSY = frozenset({429, 502, 503, 504})


async def start(context: Context, woken: Sequence[tuple[UUID, int]]) -> None:
    """Begin one try of each of these deliveries that is still to be made; they go on without the caller.

    What is taken in the plain way is taken when this returns, in one statement; each of the others is taken
    by itself.
    """
    lease, direct = context.settings.delivery_lease, context.database.direct
    claimed: list[ClaimedDelivery] = []
    try:
        claimed = await deliveries.take_plain(direct, context.vault, woken, lease)
    except Unavailable:
        pass
    except Exception as failed:  # noqa: BLE001 - it may be one of them that is at fault
        log.warning("bundle.failed", task="deliver", reason=said(failed))
    for each in claimed:
        context.flight.begin("deliver", _run(context, each))
    taken = {(each.delivery_id, each.number) for each in claimed}
    for delivery_id, number in woken:
        if (delivery_id, number) not in taken:
            context.flight.begin("deliver", _run_alone(context, delivery_id, number))


async def at_once(context: Context, new: Sequence[UUID]) -> None:
    """Begin deliveries that have just come to be, where nothing stands in their way and there is room.

    The dispatcher is rung for the others. Should this process die first, it finds them by its clock.
    """
    context.fresh = context.fresh or Gathering(partial(_start_fresh, context), most=BUNDLE)
    begun = 0
    try:
        begun = 0 if context.draining else await context.fresh.put(new)
    except Unavailable:
        pass
    except Exception as failed:  # noqa: BLE001 - it may be one of them that is at fault
        log.warning("bundle.failed", task="deliver", reason=said(failed))
    if begun < len(new):
        context.database.direct.ring("deliveries")


async def _start_fresh(context: Context, fresh: Sequence[Sequence[UUID]]) -> list[int]:
    """Begin what may begin of the new deliveries of several jobs; returns how many of each."""
    settings = context.settings
    woken = await deliveries.wake_at_once(
        context.database.direct,
        [each for new in fresh for each in new],
        free=context.flight.room("deliver"),
        lease=settings.delivery_lease,
        cap=settings.webhook_in_flight,
        rate=settings.webhook_rate,
    )
    if woken:
        await start(context, woken)
    begun = {each for each, _ in woken}
    return [len(begun.intersection(new)) for new in fresh]


async def _run_alone(context: Context, delivery_id: UUID, number: int) -> None:
    """Take what is not plain, if it is still to be sent, and see its try through."""
    structlog.contextvars.bind_contextvars(delivery_id=text(DELIVERY, delivery_id))
    lease = context.settings.delivery_lease
    # Again when Postgres was away for a moment: else the delivery waits for the end of its lease.
    claimed = await persist(
        context, lambda tx: deliveries.take(tx, context.vault, delivery_id, number, lease)
    )
    if claimed is None:
        log.info("webhook.not_mine", number=number)
        return
    await _run(context, claimed)


async def _run(context: Context, claimed: ClaimedDelivery) -> None:
    """Send what was taken, and write down what it met."""
    bound = {
        "delivery_id": text(DELIVERY, claimed.delivery_id),
        "project_id": text(PROJECT, claimed.project_id),
    }
    if claimed.job_id is not None:
        bound["job_id"] = text(JOB, claimed.job_id)
    structlog.contextvars.bind_contextvars(**bound)
    whose.set(claimed.project_id)
    at, started = datetime.now(UTC), time.monotonic()
    met = await _send(context, claimed, at)
    elapsed = timedelta(seconds=time.monotonic() - started)
    tried = judge(
        context.settings, claimed, met, elapsed, now=datetime.now(UTC), random=random.random
    )
    state = await _record(context, claimed, at, tried)
    metrics.TRIES.labels(state or "late").inc()
    metrics.TRY_SECONDS.observe(elapsed.total_seconds())
    if tried.pause is not None:
        metrics.LANES_SLOWED.inc()
    came_to = f"webhook.{state or 'late'}"
    log.info(
        came_to,
        event_id=text(EVENT, claimed.event_id),
        number=claimed.number,
        http_status=tried.http_status,
        result=tried.result,
    )


async def _record(
    context: Context, claimed: ClaimedDelivery, at: datetime, tried: TryResult
) -> DeliveryState | None:
    delivery_id, number = claimed.delivery_id, claimed.number
    line = Tried(delivery_id, number, at, tried)
    if line.plain:
        try:
            if await context.tries.put(line):
                return tried.state
        except Exception as failed:
            if not isinstance(failed, Unavailable) and not is_refusal(failed):
                raise
            # Whether it took effect, the general way finds out; and which try is at fault, if one is.
            cause = "away" if isinstance(failed, Unavailable) else "refused"
            metrics.RECORDED_ALONE.labels(cause).inc()
            log.warning("webhook.recorded_alone", number=number, reason=said(failed))
    patience = Patience.of(context.settings)
    return await persist(
        context, lambda tx: deliveries.record(tx, delivery_id, number, at, tried, patience)
    )


async def _send(context: Context, claimed: ClaimedDelivery, at: datetime) -> Met:
    settings = context.settings
    message_id, timestamp = text(EVENT, claimed.event_id), int(at.timestamp())
    try:
        return await context.egress.post(
            claimed.url,
            content=claimed.body,
            headers={
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": sign(claimed.secrets, message_id, timestamp, claimed.body),
            },
            deadline=settings.webhook_timeout,
            read_max=settings.webhook_read_max_bytes,
            owner=claimed.endpoint_id or (claimed.project_id, urlsplit(claimed.url)[:2]),
        )
    except (EgressRefused, Unreachable) as failed:
        return failed


def judge(
    settings: Settings,
    claimed: ClaimedDelivery,
    met: Met,
    elapsed: timedelta,
    *,
    now: datetime,
    random: Callable[[], float],
) -> TryResult:
    """Return what follows from a try: delivered, given up, the endpoint disabled, or tried again."""
    match met:
        case EgressRefused():
            # Which rule, how long it took, and what the name resolves to, is nobody's business: the log
            # is no scanner.
            return TryResult("blocked", "address refused", None, timedelta(0))
        case Unreachable():
            wait = _wait(settings, claimed, None, random)
            # Whoever hangs holds a slot for each try: one at a time, until one comes back well.
            slows = timedelta(0) if met.reason == "timeout" and not claimed.ping else None
            state: DeliveryState = "pending" if wait else "exhausted"
            return TryResult(state, met.reason, None, elapsed, wait, pause=slows)
        case Answer():
            return _answered(settings, claimed, met, now=now, random=random)


def _answered(
    settings: Settings,
    claimed: ClaimedDelivery,
    answer: Answer,
    *,
    now: datetime,
    random: Callable[[], float],
) -> TryResult:
    status, elapsed = answer.status, answer.elapsed
    wish = answer.headers.get("webhook-delivery", "").strip().lower()
    if wish == "disable" or status == _GONE:
        reason = "the receiver asked to be disabled" if wish == "disable" else "410 Gone"
        given_up: DeliveryState = "held" if claimed.endpoint_id else "aborted"
        return TryResult(given_up, reason, status, elapsed, endpoint="disable")
    if status in _SUCCESS:
        return TryResult("delivered", "delivered", status, elapsed)
    asked = parse_retry_after(answer.headers.get("retry-after"), now)
    wait = _wait(settings, claimed, asked, random)
    slows = pause(wait, asked) if status in _BUSY or asked is not None else None
    if wish == "abort-message":
        result = "the receiver gave this message up"
        return TryResult("aborted", result, status, elapsed, pause=slows)
    result = "redirect, never followed" if status in _REDIRECT else f"HTTP {status}"
    return TryResult("pending" if wait else "exhausted", result, status, elapsed, wait, pause=slows)


def _wait(
    settings: Settings,
    claimed: ClaimedDelivery,
    asked: timedelta | None,
    random: Callable[[], float],
) -> timedelta | None:
    schedule = () if claimed.ping else settings.webhook_schedule
    return next_try(schedule, claimed.nth, retry_after=asked, random=random)
