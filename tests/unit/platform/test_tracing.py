"""Spans and where they go, without a role: a process of its own sends them to a real receiver."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.fixtures.collecting import Collector, collecting
from tests.fixtures.pages import ROOT

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
# A job's whole way, from a request with this header to its webhook; prints what row and webhook have.
WAY = """
from models import settings
from models.platform import logs, tracing
from models.errors import NotFound
import sys, structlog
logs.configure("tests", "INFO", stream=sys.stderr)
log = structlog.get_logger()
tracing.start("tests", settings.load())
tracing.enter({given!r})
with tracing.begin("accept") as step:
    step.note(job_id="job_1", customer=None)
    row = tracing.carried()
log.info("accepted")
tracing.afresh()
with tracing.carry_on("dispatch", row):
    pass
with tracing.apart("attempt", row) as step:
    log.info("attempt")
    with tracing.within("provider call") as call:
        call.fail("TryLater")
    try:
        with tracing.within("keep"):
            raise ValueError("a prompt of somebody's")
    except ValueError:
        pass
log.info("after")
with tracing.carry_on("deliver", row) as step:
    sent = step.traceparent
tracing.stop()
print(row, sent)
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


def walk(
    given: str | None, **environment: str
) -> tuple["subprocess.CompletedProcess[str]", list[str]]:
    """Walk it in a process of its own; returns what it said, and the row and the webhook's header."""
    ran = subprocess.run(
        [sys.executable, "-c", WAY.format(given=given)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={"DATABASE_URL": "postgresql://nobody@127.0.0.1/none",
             "REDIS_URL": "redis://127.0.0.1:1", "DARKROOM_SECRET": "s" * 32, **environment},
    )  # fmt: skip
    return ran, ran.stdout.split()


def test_an_attempt_is_a_trace_of_its_own_that_is_linked_to_the_submission(
    collector: Collector,
) -> None:
    ran, (row, sent) = walk(SAMPLED, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    (accept,), (dispatch,) = collector.named("accept"), collector.named("dispatch")
    (attempt,), (call,) = collector.named("attempt"), collector.named("provider call")
    (keep,), (deliver,) = collector.named("keep"), collector.named("deliver")
    assert row.split("-")[1:3] == [TRACE, accept.span_id]
    assert (accept.trace_id, accept.parent) == (TRACE, PARENT)
    assert accept.facts == {"darkroom.job_id": "job_1"}
    for each in (dispatch, deliver):
        assert (each.trace_id, each.parent, each.links) == (TRACE, accept.span_id, ())
    assert (attempt.parent, attempt.links) == ("", ((TRACE, accept.span_id),))
    assert attempt.trace_id != TRACE
    for each in (call, keep):
        assert (each.trace_id, each.parent) == (attempt.trace_id, attempt.span_id)
    assert (call.failed, keep.failed, attempt.failed) == ("TryLater", "ValueError", None)
    assert sent.split("-")[1:3] == [TRACE, deliver.span_id]
    assert {each.service for each in collector.spans} == {"darkroom-tests"}
    assert collector.paths == {"/v1/traces"}
    assert b"somebody's" not in collector.written
    lines = ran.stderr.splitlines()
    assert [TRACE in line for line in lines] == [True, True, False]
    assert [f'"attempt_trace_id": "{attempt.trace_id}"' in line for line in lines] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("given", [SAMPLED, pytest.param(NOT_SAMPLED, marks=pytest.mark.long)])
def test_without_a_receiver_the_submitters_trace_is_passed_on_as_it_came(given: str) -> None:
    ran, told = walk(given)
    assert told == [given, given]
    assert [TRACE in line for line in ran.stderr.splitlines()] == [True, True, False]


@pytest.mark.long
@pytest.mark.parametrize(
    "given", [None, "", "00-0-0-01", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01"]
)
def test_who_names_no_trace_is_in_none(given: str | None) -> None:
    _, told = walk(given)
    assert told == ["None", "None"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("given", "sampler", "ratio", "spans", "row"),
    [
        (None, "parentbased_traceidratio", "0", 0, "None"),
        (SAMPLED, "parentbased_traceidratio", "0", 6, None),
        (NOT_SAMPLED, "parentbased_traceidratio", "1", 0, NOT_SAMPLED),
        (SAMPLED, "traceidratio", "0", 0, SAMPLED),
        (NOT_SAMPLED, "traceidratio", "1", 6, None),
        (SAMPLED, "always_off", "1", 0, SAMPLED),
    ],
)
def test_what_is_sampled_at_the_submission_is_sampled_to_the_webhook(
    collector: Collector, given: str | None, sampler: str, ratio: str, spans: int, row: str | None
) -> None:
    _, told = walk(
        given,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=ratio,
    )
    assert len(collector.spans) == spans
    assert row is None or told == [row, row]


def test_a_submission_that_names_no_trace_begins_one_for_the_service_that_is_named(
    collector: Collector,
) -> None:
    _, (row, _) = walk(
        None,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="x-key=of%20ours",
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )
    (accept,) = collector.named("accept")
    assert (accept.parent, row.split("-")[1]) == ("", accept.trace_id)
    assert len(collector.spans) == 6
    assert {each.service for each in collector.spans} == {"shop"}
    assert {each["x-key"] for each in collector.headers} == {"of ours"}


def test_a_receiver_that_is_not_there_holds_nobody_up() -> None:
    ran, told = walk(None, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert ran.returncode == 0
    assert len(told) == 2
