"""Metrics have names as Prometheus wants them, and docs/metrics.md lists every one with its labels."""

import re
import subprocess
from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics import MetricWrapperBase

import api.__main__  # noqa: F401 - a role's metrics are there once it is loaded
import worker.__main__
import worker.dispatcher.__main__  # noqa: F401 - the same
from models.platform.metrics import CONNECTIONS, identify
from models.states import TERMINAL
from tests.fixtures import debian
from tests.fixtures.pages import ROOT
from tests.guards.test_documents import rows

ALERTS = ROOT / "deploy" / "observability" / "alerts.yaml"

# What is collected when it is asked for, and so has no wrapper with its labels.
COLLECTED = {
    "darkroom_database_connections": ["pool"],
    "darkroom_database_connections_max": ["pool"],
    "darkroom_database_connections_used": ["pool"],
    "darkroom_database_waiting": ["pool"],
    "darkroom_redis_connected": [],
}


def exported() -> Mapping[str, list[str]]:
    """Return every metric of ours as Prometheus names it, with its labels."""
    ours = {name: labels for name, labels in _wrapped() if name.startswith("darkroom_")}
    return ours | COLLECTED


def _wrapped() -> Iterator[tuple[str, list[str]]]:
    # The client tells of labels nowhere else before there is a series.
    for each in set(vars(REGISTRY)["_collector_to_names"]):
        if isinstance(each, MetricWrapperBase):
            said = vars(each)
            ending = "_total" if type(each).__name__ == "Counter" else ""
            yield said["_name"] + ending, list(said["_labelnames"])


def test_every_metric_is_told_with_its_labels() -> None:
    told = {
        cells[0]: cells[2].replace("`", "").replace(",", "").split()
        for cells in rows("metrics.md")
        if cells[0].startswith("darkroom_")
    }
    assert told == exported()
    assert {each.name for each in CONNECTIONS.collect()} <= COLLECTED.keys()


def test_promtool_has_nothing_to_say_of_the_names() -> None:
    promtool = debian.promtool()
    identify("api")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(), capture_output=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_job_that_ends_for_the_first_time_is_an_increase() -> None:
    for status in TERMINAL:
        told = REGISTRY.get_sample_value("darkroom_jobs_finished_total", {"status": status})
        assert told is not None


def test_what_an_alert_counts_is_there_before_it_happens() -> None:
    # Prometheus sees no increase in a series that begins with 1.
    counted = set(re.findall(r"increase\((darkroom_\w+)", ALERTS.read_text()))
    there = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    by_duty = {"darkroom_duty_failures_total"}  # of each duty, when it begins
    assert counted - there <= by_duty
    assert len(counted) > len(by_duty)
