"""What each answer of a receiver means: the table of webhooks, row by row."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID

import pytest

from models.errors import EgressRefused
from models.webhooks import destinations
from models.webhooks.deliveries import ClaimedDelivery, TryResult
from tests.conftest import make_settings
from worker.backoff import LANE_PAUSE_MAX, pause
from worker.egress.connection import Reason, Unreachable
from worker.egress.guarded import Answer
from worker.judging import Met, judge

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ELAPSED = timedelta(milliseconds=120)
SETTINGS = make_settings()
SCHEDULE = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def judged(
    met: Met, *, nth: int = 1, endpoint: bool = True, ping: bool = False, draw: float = 0.5
) -> TryResult:
    number = nth + 40  # it was replayed: its tries count on, its schedule began anew
    parcel = ClaimedDelivery(
        delivery_id=UUID(int=1), project_id=UUID(int=3), job_id=None, number=number, nth=nth,
        event_id=UUID(int=2), url="https://r.example/", body=b"{}", secrets=(),
        endpoint_id=UUID(int=4) if endpoint else None, more=False,
        destination=destinations.of_ping(UUID(int=3)) if ping else "usual",
    )  # fmt: skip
    return judge(SETTINGS, parcel, met, ELAPSED, now=NOW, random=lambda: draw)


def answered(status: int, *, nth: int = 1, ping: bool = False, **headers: str) -> TryResult:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judged(Answer(status, named, ELAPSED), nth=nth, ping=ping)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert answered(status) == TryResult("delivered", "delivered", status, ELAPSED)
    assert answered(status, retry_after="60").pause is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_says_why(status: int) -> None:
    tried = answered(status, location="https://elsewhere.example/")
    assert (tried.state, tried.result) == ("pending", "redirect, never followed")
    assert (tried.next_in, tried.pause) == (seconds(5), None)


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (410, {}, "410 Gone"),
        (410, {"retry-after": "60"}, "410 Gone"),
        (200, {"webhook-delivery": "disable"}, "the receiver asked to be disabled"),
        (500, {"webhook-delivery": " Disable "}, "the receiver asked to be disabled"),
    ],
)
def test_a_410_or_a_wish_disables_the_endpoint(
    status: int, headers: dict[str, str], reason: str
) -> None:
    tried = judged(Answer(status, headers, ELAPSED))
    assert (tried.state, tried.endpoint, tried.result) == ("held", "disable", reason)
    assert tried.pause is None


def test_a_410_of_a_jobs_own_url_gives_its_deliveries_up() -> None:
    tried = judged(Answer(410, {}, ELAPSED), endpoint=False)
    assert (tried.state, tried.endpoint) == ("aborted", "disable")


@pytest.mark.parametrize("status", [400, 409, 500])
def test_a_message_is_given_up_when_the_receiver_says_so(status: int) -> None:
    tried = answered(status, webhook_delivery="abort-message")
    assert (tried.state, tried.endpoint, tried.next_in, tried.pause) == (
        "aborted", "keep", None, None,
    )  # fmt: skip
    assert answered(200, webhook_delivery="abort-message").state == "delivered"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_receiver_slows_its_whole_lane(status: int) -> None:
    tried = answered(status)
    assert (tried.state, tried.result) == ("pending", f"HTTP {status}")
    assert tried.next_in == tried.pause == seconds(5)
    assert answered(status, webhook_delivery="abort-message").pause == seconds(5)


@pytest.mark.parametrize("status", [302, 400, 401, 404, 500, 501, 507])
def test_any_failure_with_retry_after_slows_its_lane_and_without_it_none(status: int) -> None:
    assert answered(status).pause is None
    tried = answered(status, retry_after="90")
    assert tried.next_in == tried.pause == seconds(90)


@pytest.mark.parametrize(
    ("written", "wait"),
    [
        ("0", 5),
        ("4", 5),
        ("60", 60),
        ("86400", 86_400),
        ("999999", 86_400),
        (format_datetime(NOW + seconds(3600), usegmt=True), 3600),
        (format_datetime(NOW - seconds(3600), usegmt=True), 5),
    ],
)
def test_retry_after_is_believed_between_the_schedules_delay_and_a_day(
    written: str, wait: float
) -> None:
    tried = answered(503, retry_after=written)
    assert tried.next_in == tried.pause == seconds(wait)


def test_a_retry_after_that_nobody_understands_is_none() -> None:
    assert answered(500, retry_after="soon").pause is None
    assert answered(503, retry_after="soon").pause == seconds(5)


@pytest.mark.parametrize(("nth", "wait"), list(enumerate(SCHEDULE, start=1)))
def test_ten_tries_over_seventy_six_hours(nth: int, wait: float) -> None:
    answer = Answer(500, {}, ELAPSED)
    assert judged(answer, nth=nth).next_in == seconds(wait)
    assert judged(answer, nth=nth, draw=0.0).next_in == seconds(wait) * 0.8
    assert judged(answer, nth=10).state == "exhausted"
    assert 75 <= sum(SCHEDULE) / 3600 <= 79


def test_a_lane_does_not_wait_for_the_patience_of_its_oldest_delivery() -> None:
    assert answered(503, nth=3).pause == seconds(1800)
    tried = answered(503, nth=7)
    assert (tried.next_in, tried.pause) == (seconds(50_400), LANE_PAUSE_MAX)
    assert answered(503, nth=7, retry_after="60000").pause == seconds(60_000)


def test_the_last_try_slows_the_lane_too() -> None:
    tried = answered(429, nth=10)
    assert (tried.state, tried.next_in, tried.pause) == ("exhausted", None, LANE_PAUSE_MAX)
    assert answered(429, nth=10, retry_after="7200").pause == seconds(7200)
    assert pause(None, timedelta(days=9)) == timedelta(days=1)


@pytest.mark.parametrize("reason", ["dns", "connect", "tls", "timeout", "reset", "protocol"])
def test_what_could_not_be_reached_is_tried_again(reason: Reason) -> None:
    slows = timedelta(0) if reason == "timeout" else None
    tried = judged(Unreachable(reason))
    assert tried == TryResult("pending", reason, None, ELAPSED, seconds(5), pause=slows)
    last = judged(Unreachable(reason), nth=10)
    assert last == TryResult("exhausted", reason, None, ELAPSED, pause=slows)


def test_a_refused_address_is_blocked_and_the_log_does_not_say_what_it_met() -> None:
    for refused in (EgressRefused("10.0.0.1 is private"), EgressRefused("port 22 is closed")):
        assert judged(refused) == TryResult("blocked", "address refused", None, timedelta(0))


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
def test_a_ping_is_tried_once(status: int) -> None:
    assert answered(status, ping=True).state == "exhausted"
    lost = judged(Unreachable("timeout"), ping=True)
    assert (lost.state, lost.pause) == ("exhausted", None)
    assert answered(204, ping=True).state == "delivered"
