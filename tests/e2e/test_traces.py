"""Traces: a job from its submitter's trace to its webhook, with a real receiver of spans."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from tests.e2e import stage as stages
from tests.e2e.receiver import serving
from tests.e2e.stage import Stage, eventually
from tests.fixtures.collecting import Collector, Spanned, collecting

pytestmark = pytest.mark.long  # it starts a Darkroom of its own

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PROMPT = "a secret of somebody's"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds between two batches of spans


@contextmanager
def overheard(origin: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Stand before the simulator; yields the address, and the headers of every request that came."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard.append(headers)
            body = self.rfile.read(int(headers.get("content-length", 0)))
            given = {name: value for name, value in headers.items() if name != "host"}
            answer = httpx.request(
                self.command,
                origin + self.path,
                headers=given,
                content=body,
                timeout=30,
                trust_env=False,
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def do_GET(self) -> None:
            self._pass()

        def do_POST(self) -> None:
            self._pass()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}", heard


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: str,
    redis_server: str,
    collector: Collector,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("traces")
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **QUICK}
    with stages.opened(folder, postgres_server, redis_server, traced) as opened:
        yield opened


def one(spans: list[Spanned]) -> Spanned:
    (found,) = spans
    return found


def test_one_job_from_its_submitters_trace_to_its_webhook(
    stage: Stage, collector: Collector
) -> None:
    with overheard(stage.simulator) as (provider, heard):
        stage.start("simulator")
        stage.start("api", "dispatcher", "worker", environment={"AIMLAPI_BASE_URL": provider})
        stage.client.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
        made = stage.submit("500, ok", metadata={"prompt": PROMPT}, customer="c_9")
        job = stage.finish(made)
        assert job.outcomes == ["try_later", "image"]
        assert stage.client.get(job.image.url).status_code == 200
        assert stage.client.get("/v1/jobs", params={"customer": "c_9"}).status_code == 200
        eventually(lambda: bool(stage.receiver.of(made, "job.succeeded")), "the webhook has come")
        eventually(lambda: len(collector.named("deliver")) == 1, "its span has come")

        # The submitter's trace: accepted, handed out twice, delivered.
        accept, deliver = one(collector.named("accept")), one(collector.named("deliver"))
        assert (accept.service, accept.trace_id, accept.parent) == ("darkroom-api", TRACE, PARENT)
        assert accept.facts["darkroom.job_id"] == made
        dispatches = collector.named("dispatch")
        assert [each.service for each in dispatches] == ["darkroom-dispatcher"] * 2
        for each in (*dispatches, deliver):
            assert (each.trace_id, each.parent) == (TRACE, accept.span_id)
        assert deliver.facts["http.response.status_code"] == 204

        # Each attempt is a trace of its own, linked to the submission.
        first, second = collector.named("attempt")
        assert [each.facts["darkroom.attempt"] for each in (first, second)] == [1, 2]
        assert len({TRACE, first.trace_id, second.trace_id}) == 3
        for attempt in (first, second):
            assert (attempt.service, attempt.parent) == ("darkroom-worker", "")
            assert attempt.links == ((TRACE, accept.span_id),)
        of = {
            attempt.trace_id: [
                (each.name, each.failed)
                for each in sorted(collector.spans, key=lambda each: each.began)
                if each.parent == attempt.span_id
            ]
            for attempt in (first, second)
        }
        assert of[first.trace_id] == [("provider call", "TryLater"), ("settle", None)]
        assert [name for name, _ in of[second.trace_id]] == [
            "provider call", "receive", "keep", "settle",
        ]  # fmt: skip

        # Nobody else makes spans: FastAPI's would have URLs, which are signed, or name a customer.
        assert {each.name for each in collector.spans} == {
            "accept", "dispatch", "attempt", "provider call", "receive", "keep", "settle", "deliver",
        }  # fmt: skip
        for secret in (PROMPT, "c_9", "/v1/jobs", "sig="):
            assert secret.encode() not in collector.written, secret

        # Who is told: the webhook's receiver, and nobody else.
        assert stage.receiver.headers[-1]["traceparent"].split("-")[1:3] == [TRACE, deliver.span_id]
        assert len([each for each in heard if "x-client-request-id" in each]) == 2
        assert [each for each in heard if "traceparent" in each or "tracestate" in each] == []
        assert stage.cdn.asked
        assert [each for each in stage.cdn.asked if "traceparent" in each] == []

        # One id finds everything.
        lines = [
            json.loads(line)
            for actor in stage.actors
            if actor.name != "simulator"
            for line in actor.log.read_text().splitlines()
        ]
        found = [line["event"] for line in lines if line.get("trace_id") == TRACE]
        assert {
            "job.accepted", "http.answered", "job.dispatched", "attempt.sent", "attempt.answered",
            "image.kept", "job.succeeded", "webhook.delivered",
        } <= set(found)  # fmt: skip
        sent = [line for line in lines if line["event"] == "attempt.sent"]
        assert [line["attempt_trace_id"] for line in sent] == [first.trace_id, second.trace_id]
