"""When to try again: pure arithmetic, with time and randomness as arguments."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# A provider that asks for more than this is mistaken; the job's own deadlines rule beyond it.
RETRY_AFTER_MAX = timedelta(hours=1)
# The longest that a webhook's receiver may put us off.
WEBHOOK_RETRY_AFTER_MAX = timedelta(hours=24)
# What a busy receiver's whole destination waits at most, unless it asks for more: a receiver that came back
# must not wait for the patience of the oldest delivery, which may be a day by then.
LANE_PAUSE_MAX = timedelta(minutes=30)
# Receivers that failed together must not be called together again: +-20 %.
WEBHOOK_JITTER = 0.2

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
# Far beyond every clamp, and far below what a timedelta can hold.
_LONGEST = 10.0**9
# 2 to this power times any base is beyond any cap, and still a float.
_DOUBLINGS_MAX = 64


def delay(
    n: int,
    *,
    base: timedelta,
    cap: timedelta,
    retry_after: timedelta | None,
    random: Callable[[], float],
) -> timedelta:
    """Return the wait after the `n`th try (from 1): full jitter under `base` doubling to `cap`.

    `retry_after` is a floor, believed up to `RETRY_AFTER_MAX`. `random` returns a float in [0, 1).
    Full jitter spreads a crowd best:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    doublings = min(max(n - 1, 0), _DOUBLINGS_MAX)
    ceiling = min(cap.total_seconds(), base.total_seconds() * 2.0**doublings)
    jittered = timedelta(seconds=random() * ceiling)
    return max(jittered, min(retry_after or timedelta(0), RETRY_AFTER_MAX))


def next_try(
    schedule: Sequence[timedelta],
    n: int,
    *,
    retry_after: timedelta | None,
    random: Callable[[], float],
) -> timedelta | None:
    """Return the wait after a webhook's `n`th try (from 1), or None when the schedule is exhausted.

    `schedule[n - 1]`, 20 % more or less; the receiver's `retry_after` may make it longer, up to a
    day.
    """
    if n > len(schedule):
        return None
    jittered = schedule[max(n, 1) - 1] * (1 + WEBHOOK_JITTER * (2 * random() - 1))
    return max(jittered, min(retry_after or timedelta(0), WEBHOOK_RETRY_AFTER_MAX))


def pause(wait: timedelta | None, asked: timedelta | None) -> timedelta:
    """Return how long the whole destination of a busy receiver pauses: as the delivery that met it waits.

    That is at most `LANE_PAUSE_MAX`, or as long as the receiver `asked` for, up to a day. A delivery with
    no tries left (`wait` is None) pauses the others all the same.
    """
    own = min(wait or LANE_PAUSE_MAX, LANE_PAUSE_MAX)
    return max(own, min(asked or timedelta(0), WEBHOOK_RETRY_AFTER_MAX))


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); None if it is neither.

    `now` is aware, and only matters to a date; one in the past means zero.
    """
    written = (value or "").strip()
    if _SECONDS.fullmatch(written):
        return timedelta(seconds=min(float(written), _LONGEST))
    when = parse_date(written)
    return None if when is None else max(when - now, timedelta(0))


def parse_date(written: str) -> datetime | None:
    """Read an HTTP date (RFC 9110, 5.6.7) as an aware datetime; None if it is not one."""
    try:
        when = parsedate_to_datetime(written)
    except (ValueError, TypeError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
