"""What the answer to a webhook means: one table, from status and headers to a `TryResult`."""

from collections.abc import Callable
from datetime import datetime, timedelta

from models.errors import EgressRefused
from models.settings import Settings
from models.states import DeliveryState
from models.webhooks.deliveries import ClaimedDelivery, TryResult
from worker.backoff import next_try, parse_retry_after, pause
from worker.egress.connection import Unreachable
from worker.egress.guarded import Answer

Met = Answer | Unreachable | EgressRefused

_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
_GONE = 410
_BUSY = frozenset({429, 502, 503, 504})


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
            # A receiver that hangs holds a slot for each try: one at a time, until one comes back well.
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
