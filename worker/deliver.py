"""A delivery on one page: take → sign and POST → record. Deliveries are taken by the bundle.

The same bytes and the same id on every try; the signature is of this try's time.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from models.coordination.workers import BUNDLE
from models.errors import EgressRefused, Unavailable
from models.ids import DELIVERY, EVENT, JOB, PROJECT, text
from models.platform import tracing
from models.platform.db.absences import is_refusal
from models.platform.db.failures import said
from models.platform.together import Lines, Together
from models.states import DeliveryState
from models.webhooks import deliveries
from models.webhooks.deliveries import ClaimedDelivery, Patience, Place, Tried, TryResult
from models.webhooks.signing import sign
from worker.egress.connection import Unreachable
from worker.judging import Met, judge
from worker.runtime import metrics
from worker.runtime.context import Context, Finished, Fresh, whose
from worker.runtime.persistence import persist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Woken = tuple[UUID, int]  # a delivery, and the number of its try


async def start(context: Context, woken: Sequence[Woken]) -> None:
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
    _begin(context, claimed)
    taken = {(each.delivery_id, each.number) for each in claimed}
    for delivery_id, number in woken:
        if (delivery_id, number) not in taken:
            context.flight.begin("deliver", _run_alone(context, delivery_id, number))


async def at_once(context: Context, new: Sequence[Place]) -> None:
    """Begin new deliveries, each known by its destination, where nothing stands in the way of one more.

    The dispatcher is rung for the others. Should this process die first, it finds them by its clock.
    """
    # Half of each cap is theirs, and the other half is for what follows a try: no third may be beside them.
    start = partial(_start_fresh, context)
    context.fresh = context.fresh or Together(start, most=BUNDLE, overtaken=0)
    begun = False
    try:
        begun = not context.draining and bool(await context.fresh.find(Fresh(new)))
    except Unavailable:
        pass
    except Exception as failed:  # noqa: BLE001 - it may be one of them that is at fault
        log.warning("bundle.failed", task="deliver", reason=said(failed))
    if not begun:
        context.database.direct.ring("deliveries")


async def _start_fresh(context: Context, fresh: Sequence[Fresh]) -> dict[Fresh, bool]:
    """Begin the new deliveries of several jobs; false for each when fewer may begin than there are."""
    wanted = Counter(chain.from_iterable(each.places for each in fresh))
    claimed = await deliveries.wake_here(
        context.database.direct, context.vault, wanted, **_limits(context, within=2)
    )
    _begin(context, claimed)
    return dict.fromkeys(fresh, len(claimed) == wanted.total())


def _limits(context: Context, *, within: int = 1) -> deliveries.Limits:
    """Return the bounds of what a worker takes for itself, in a part of each cap."""
    settings = context.settings
    return {
        "free": context.flight.room("deliver"),
        "lease": settings.delivery_lease,
        "cap": settings.webhook_in_flight // within,
        "rate": settings.webhook_rate,
    }


def _begin(context: Context, claimed: Sequence[ClaimedDelivery]) -> None:
    for each in claimed:
        context.flight.begin("deliver", _run(context, each))


async def _run_alone(context: Context, delivery_id: UUID, number: int) -> None:
    """Take what is not plain, if it is still to be sent, and see its try through."""
    structlog.contextvars.bind_contextvars(delivery_id=text(DELIVERY, delivery_id))
    lease = context.settings.delivery_lease
    # Again when Postgres was away for a moment: else the delivery waits for the end of its lease.
    claimed = await persist(
        context, lambda tx: deliveries.take(tx, context.vault, delivery_id, number, lease)
    )
    if claimed is None:
        log.info("webhook.not_taken", number=number)
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
    with tracing.carry_on("deliver", claimed.traceparent) as step:
        await _try(context, claimed, step)


async def _try(context: Context, claimed: ClaimedDelivery, step: tracing.Step) -> None:
    at, started = datetime.now(UTC), time.monotonic()
    met = await _send(context, claimed, at, step.traceparent)
    elapsed = timedelta(seconds=time.monotonic() - started)
    tried = judge(
        context.settings, claimed, met, elapsed, now=datetime.now(UTC), random=random.random
    )
    state = await _record(context, claimed, at, tried)
    step.note(
        delivery_id=text(DELIVERY, claimed.delivery_id),
        job_id=None if claimed.job_id is None else text(JOB, claimed.job_id),
        number=claimed.number,
        http_status=tried.http_status,
        state=state or "late",
    )
    if tried.state != "delivered":
        step.fail(tried.result)
    metrics.TRIES.labels(state or "late").inc()
    metrics.TRY_SECONDS.observe(elapsed.total_seconds())
    if tried.pause is not None:
        metrics.DESTINATIONS_SLOWED.inc()
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
    """Write a try down with those that came together, or in the general way, which knows all cases."""
    delivery_id, number = claimed.delivery_id, claimed.number
    line = Tried(delivery_id, number, at, tried)
    if line.plain:
        lines = context.tries = context.tries or Lines(
            partial(_write, context), most=BUNDLE, overtaken=0
        )
        try:
            if await lines.find(tried.state, Finished(line, follows=_follows(claimed, tried))):
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


def _follows(claimed: ClaimedDelivery, tried: TryResult) -> bool:
    """Return whether another may follow in its destination: this one delivered, and more were due."""
    return claimed.more and tried.state == "delivered" and not claimed.ping


async def _write(
    context: Context, _: DeliveryState, tries: Sequence[Finished]
) -> dict[Finished, bool]:
    """Write tries down that came to the same; what is due behind those that delivered has their places."""
    direct, lines = context.database.direct, [each.tried for each in tries]
    follows, claimed = [each.follows for each in tries], list[ClaimedDelivery]()
    if context.draining or not any(follows):
        patience = Patience.of(context.settings)
        written = await deliveries.record_plain(direct, patience, lines)
    else:
        written, claimed = await deliveries.hand_on(
            direct, context.vault, lines, follows, **_limits(context)
        )
    _begin(context, claimed)
    if written.due and sum(written.done) > len(claimed):
        direct.ring("deliveries")  # places are free, and somebody waits for one
    return dict(zip(tries, written.done, strict=True))


async def _send(
    context: Context, claimed: ClaimedDelivery, at: datetime, traceparent: str | None
) -> Met:
    """Send it, with the submitter's trace if its job has one: nobody else is ever sent that."""
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
                **({} if traceparent is None else {"traceparent": traceparent}),
            },
            deadline=settings.webhook_timeout,
            read_max=settings.webhook_read_max_bytes,
            owner=claimed.endpoint_id or (claimed.project_id, urlsplit(claimed.url)[:2]),
        )
    except (EgressRefused, Unreachable) as failed:
        return failed
