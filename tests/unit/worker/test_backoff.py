from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backoff import RETRY_AFTER_MAX, delay, next_try, parse_retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BASE, CAP = timedelta(seconds=1), timedelta(seconds=60)
SCHEDULE = tuple(timedelta(seconds=s) for s in (5, 300, 1800))


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def wait(n: int, *, draw: float, retry_after: timedelta | None = None) -> timedelta:
    return delay(n, base=BASE, cap=CAP, retry_after=retry_after, random=lambda: draw)


@pytest.mark.parametrize(
    ("n", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60), (100_000, 60)]
)
def test_a_retry_waits_anything_up_to_a_doubling_ceiling(n: int, ceiling: float) -> None:
    assert wait(n, draw=0.0) == seconds(0)
    assert wait(n, draw=0.5) == seconds(ceiling / 2)
    assert wait(n, draw=1.0) == seconds(ceiling)


def test_a_retry_waits_at_least_as_long_as_the_provider_asked() -> None:
    assert wait(1, draw=0.5, retry_after=seconds(17)) == seconds(17)
    assert wait(7, draw=0.5, retry_after=seconds(17)) == seconds(30)


def test_a_provider_that_asks_for_a_year_is_believed_up_to_the_limit() -> None:
    assert wait(1, draw=0.5, retry_after=timedelta(days=365)) == RETRY_AFTER_MAX


@given(
    n=st.integers(-3, 10**9),
    draw=st.floats(0, 1, exclude_max=True),
    asked=st.one_of(st.none(), st.timedeltas()),
)
def test_a_retry_never_waits_a_negative_or_endless_time(
    n: int, draw: float, asked: timedelta | None
) -> None:
    assert timedelta(0) <= wait(n, draw=draw, retry_after=asked) <= RETRY_AFTER_MAX


@pytest.mark.parametrize(
    ("n", "draw", "expected"),
    [(1, 0.5, 5), (1, 0.0, 4), (1, 1.0, 6), (2, 0.5, 300), (3, 0.0, 1440), (3, 1.0, 2160)],
)
def test_a_delivery_follows_its_schedule_twenty_percent_more_or_less(
    n: int, draw: float, expected: float
) -> None:
    assert next_try(SCHEDULE, n, retry_after=None, random=lambda: draw) == seconds(expected)


def test_a_delivery_is_given_up_when_its_schedule_is_exhausted() -> None:
    assert next_try(SCHEDULE, 4, retry_after=seconds(1), random=lambda: 0.5) is None
    assert next_try((), 1, retry_after=None, random=lambda: 0.5) is None


@pytest.mark.parametrize(
    ("asked", "expected"), [(1, 300), (299, 300), (301, 301), (86_400, 86_400), (10**9, 86_400)]
)
def test_a_receiver_may_put_us_off_but_not_hurry_us_nor_for_over_a_day(
    asked: float, expected: float
) -> None:
    got = next_try(SCHEDULE, 2, retry_after=seconds(asked), random=lambda: 0.5)
    assert got == seconds(expected)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("9" * 5000, 1e9),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(written: str, expected: float) -> None:
    assert parse_retry_after(written, NOW) == seconds(expected)


@pytest.mark.parametrize(
    "written", [None, "", "soon", "-5", "1e3", "٣", "Sun, 99 Mar 2026 12:00:30 GMT", "5, 7"]
)
def test_anything_else_in_retry_after_counts_as_absent(written: str | None) -> None:
    assert parse_retry_after(written, NOW) is None


@given(st.text())
def test_no_text_in_retry_after_breaks_the_reading(written: str) -> None:
    got = parse_retry_after(written, NOW)
    assert got is None or got >= timedelta(0)
