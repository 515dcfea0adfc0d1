"""A real Prometheus scrapes a real Darkroom: panels and alerts have data, and alerts fire on faults."""

import re
from collections.abc import Iterator

import pytest
import yaml

from deploy.local.servers import valkey
from deploy.local.servers.server import Server
from deploy.observability import dashboard
from tests.e2e import stage as stages
from tests.e2e.stage import Stage, eventually
from tests.observability.scraper import ALERTS, Prometheus, scraping

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]

# Of an exporter that nobody runs here.
ELSEWHERE = {"probe_ssl_earliest_cert_expiry"}
JOBS = 20


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis that may be stopped."""
    with valkey.serve(tmp_path_factory.mktemp("doorbell")) as server:
        yield server


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis: Server
) -> Iterator[Stage]:
    with stages.opened(tmp_path_factory.mktemp("stage"), postgres_server, redis.url) as opened:
        opened.fill()
        yield opened


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Prometheus]:
    """One that has seen some load."""
    with scraping(tmp_path_factory.mktemp("prometheus") / "server", stage) as found:
        found.look_for()
        scripts = ("ok", "500, ok", "ok", "ok")
        jobs = [stage.submit(scripts[number % 4], priority="interactive") for number in range(JOBS)]
        for job in jobs:
            assert stage.finish(job).status == "succeeded"
        eventually(
            lambda: bool(found.ask("darkroom_jobs_queued")), "the dispatcher has measured", 60
        )
        yield found


def test_every_query_of_every_panel_returns_a_series_under_load(
    stage: Stage, prometheus: Prometheus
) -> None:
    queries = {
        f"{panel.title}: {legend}": expr
        for panel in dashboard.PANELS
        for legend, expr in panel.queries.items()
    }

    def lacking() -> set[str]:
        stage.finish(stage.submit("ok"))
        return {
            name
            for name, expr in queries.items()
            if not prometheus.ask(
                expr.replace("$__rate_interval", "20s").replace("$namespace", ".*")
            )
        }

    eventually(lambda: not lacking(), "every panel has data", 120)


def test_everything_that_alerts_ask_for_is_there_and_all_are_silent(prometheus: Prometheus) -> None:
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    asked = {name for rule in rules for name in re.findall(r"darkroom_\w+|probe_\w+", rule["expr"])}
    missing = {name for name in asked if not prometheus.ask(f"count({name})")}
    assert missing == ELSEWHERE
    prometheus.until_silent(*(rule["alert"] for rule in rules))


def test_an_empty_wallet_closes_a_gate(stage: Stage, prometheus: Prometheus) -> None:
    stage.top_up(-1_000)
    job = stage.submit("ok")
    prometheus.until_firing("DarkroomGateClosed", "DarkroomWalletRunsOut")
    stage.top_up(1_000)
    assert stage.finish(job, 60).status == "succeeded"
    prometheus.until_silent("DarkroomGateClosed")


def test_a_store_that_refuses(stage: Stage, prometheus: Prometheus) -> None:
    images, aside = stage.folder / "images", stage.folder / "images.aside"
    images.rename(aside)
    images.write_text("a file where a folder should be")
    job = stage.submit("ok")
    prometheus.until_firing("DarkroomStoreRefuses", "DarkroomGateClosed")
    images.unlink()
    aside.rename(images)
    assert stage.finish(job, 60).status == "succeeded"
    prometheus.until_silent("DarkroomStoreRefuses", "DarkroomGateClosed")


def test_an_answer_that_was_lost_long_ago(stage: Stage, prometheus: Prometheus) -> None:
    with stage.late_log():
        job = stage.submit("reset_after_charge", on_unknown_charge="wait")
        eventually(lambda: "unknown" in stage.job(job).charges, "its charge is unknown")
        stage.execute(
            "UPDATE attempts SET sent_at = sent_at - interval '1 h' WHERE charge = 'unknown'"
        )
        prometheus.until_firing("DarkroomChargeUnknownForLong")
        stage.execute(
            "UPDATE attempts SET sent_at = sent_at + interval '1 h' WHERE charge = 'unknown'"
        )
    stage.resolved(job, 60)
    prometheus.until_silent("DarkroomChargeUnknownForLong")


def test_a_key_that_ends_and_an_endpoint_that_fails(stage: Stage, prometheus: Prometheus) -> None:
    made = stage.client.post("/v1/webhooks", json={"url": stage.receiver.url})
    assert made.status_code == 201, made.text
    stage.execute("UPDATE api_keys SET expires_at = now() + interval '1 d'")
    stage.execute("UPDATE endpoints SET failing_since = now()")
    prometheus.until_firing("DarkroomKeyEnds", "DarkroomEndpointsFail")
    stage.execute("UPDATE api_keys SET expires_at = NULL")
    stage.execute("UPDATE endpoints SET failing_since = NULL")
    prometheus.until_silent("DarkroomKeyEnds", "DarkroomEndpointsFail")


def test_redis_away(redis: Server, prometheus: Prometheus) -> None:
    redis.kill()
    prometheus.until_firing("DarkroomRedisAway")
    redis.start()
    prometheus.until_silent("DarkroomRedisAway")


def test_books_that_differ_are_seen_by_a_dispatcher_that_starts(
    stage: Stage, prometheus: Prometheus
) -> None:
    stage.execute("UPDATE jobs SET charged = charged + 1 WHERE status = 'succeeded'")
    again(stage, prometheus, "dispatcher")
    prometheus.until_firing("DarkroomBooksDiffer")
    stage.execute("UPDATE jobs SET charged = charged - 1 WHERE status = 'succeeded'")
    again(stage, prometheus, "dispatcher")
    prometheus.until_silent("DarkroomBooksDiffer")


def test_no_worker(stage: Stage, prometheus: Prometheus) -> None:
    stage.actor("worker").kill()
    stage.submit("ok")
    prometheus.until_firing("DarkroomNoWorker", "DarkroomRoleMissing")
    stage.fill()
    prometheus.look_for()
    prometheus.until_silent("DarkroomNoWorker", "DarkroomRoleMissing")


def again(stage: Stage, prometheus: Prometheus, role: str) -> None:
    """Start a role anew."""
    stage.actor(role).kill()
    stage.fill()
    prometheus.look_for()
