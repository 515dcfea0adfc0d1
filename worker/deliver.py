"""A delivery on one page: take → sign and POST → record.

The same bytes and the same id on every try; the signature is of this try's time. What an answer means
is one table (`_judge`), from status and headers to a `Try`.
"""

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from models import deliveries
from models.deliveries import Parcel, Try
from models.errors import EgressRefused
from models.ids import DELIVERY, EVENT, text
from models.settings import Settings
from models.signing import sign
from worker import metrics
from worker.backoff import next_try, parse_retry_after
from worker.connection import Unreachable
from worker.context import Context
from worker.egress import Answer
from worker.persistence import insist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
_GONE = 410


async def run(context: Context, delivery_id: UUID, number: int) -> None:
    """Make one try of a delivery, if it is still to be made."""
    structlog.contextvars.bind_contextvars(delivery_id=text(DELIVERY, delivery_id))
    lease = context.settings.delivery_lease
    async with context.database.transaction() as tx:
        parcel = await deliveries.take(tx, context.vault, delivery_id, number, lease)
    if parcel is None:
        log.info("webhook.not_mine", number=number)
        return
    at = datetime.now(UTC)
    tried = await _try(context, parcel)
    await insist(context, lambda tx: deliveries.record(tx, delivery_id, number, at, tried))
    metrics.TRIES.labels(tried.state).inc()
    metrics.TRY_SECONDS.observe(tried.latency.total_seconds())
    met = f"webhook.{tried.state}"
    log.info(
        met,
        event_id=text(EVENT, parcel.event_id),
        number=number,
        http_status=tried.http_status,
        result=tried.result,
    )


async def _try(context: Context, parcel: Parcel) -> Try:
    settings, started = context.settings, time.monotonic()
    message_id, timestamp = text(EVENT, parcel.event_id), int(time.time())
    try:
        answer = await context.egress.post(
            parcel.url,
            content=parcel.body,
            headers={
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": sign(parcel.secrets, message_id, timestamp, parcel.body),
            },
            deadline=settings.webhook_timeout,
            read_max=settings.webhook_read_max_bytes,
        )
    except EgressRefused:
        # Which rule, and what the name resolves to, is nobody's business: the log is no scanner.
        return Try("blocked", "address refused", None, timedelta(0))
    except Unreachable as failed:
        elapsed = timedelta(seconds=time.monotonic() - started)
        return _later(settings, parcel, failed.reason, None, elapsed)
    return _judge(settings, parcel, answer)


def _judge(settings: Settings, parcel: Parcel, answer: Answer) -> Try:
    """Say what follows from an answer: delivered, given up, the endpoint disabled, or tried again."""
    status, elapsed = answer.status, answer.elapsed
    wish = answer.headers.get("webhook-delivery", "").strip().lower()
    if wish == "disable" or status == _GONE:
        reason = "the receiver asked to be disabled" if wish == "disable" else "410 Gone"
        return Try(
            "held" if parcel.endpoint else "aborted", reason, status, elapsed, endpoint="disable"
        )
    if status in _SUCCESS:
        return Try("delivered", "delivered", status, elapsed)
    if wish == "abort-message":
        return Try("aborted", "the receiver gave this message up", status, elapsed)
    result = "redirect, never followed" if status in _REDIRECT else f"HTTP {status}"
    return _later(settings, parcel, result, status, elapsed, answer.headers)


def _later(
    settings: Settings,
    parcel: Parcel,
    result: str,
    status: int | None,
    elapsed: timedelta,
    headers: Mapping[str, str] | None = None,
) -> Try:
    asked = parse_retry_after((headers or {}).get("retry-after"), datetime.now(UTC))
    wait = next_try(
        settings.webhook_schedule, parcel.number, retry_after=asked, random=random.random
    )
    if wait is None:
        return Try("exhausted", result, status, elapsed)
    return Try("pending", result, status, elapsed, next_in=wait)
