"""A real Prometheus: it scrapes a stage's roles every second, and has our alerts without their patience."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from deploy.local import ports
from tests.conftest import PLAIN
from tests.e2e.stage import Stage, eventually
from tests.fixtures import debian
from tests.fixtures.pages import ROOT

ALERTS = ROOT / "deploy" / "observability" / "alerts.yaml"
_WINDOW = "20s"
_ROLES = ("api", "dispatcher", "worker")


@dataclass(frozen=True)
class Prometheus:
    """One that runs, over a stage."""

    url: str
    targets: Path
    stage: Stage

    def look_for(self) -> None:
        """Scrape the processes that there are now."""
        places = [
            {"targets": [actor.ready.removeprefix("http://").removesuffix("/readyz")]}
            for role in _ROLES
            for actor in self.stage.living(role)
        ]
        self.targets.with_suffix(".new").write_text(json.dumps(places))
        self.targets.with_suffix(".new").replace(self.targets)

    def ask(self, query: str) -> list[Mapping[str, object]]:
        """Return the series of an expression, without those that are no number."""
        answer = httpx.get(
            f"{self.url}/api/v1/query", params={"query": query}, trust_env=False, verify=PLAIN
        ).json()
        assert answer["status"] == "success", answer
        found: list[Mapping[str, object]] = answer["data"]["result"]
        return [each for each in found if "NaN" not in str(each["value"])]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        series = self.ask('count by (alertname) (ALERTS{alertstate="firing"})')
        return {re.findall(r"Darkroom\w+", str(each["metric"]))[0] for each in series}

    def until_firing(self, *alerts: str, patience: float = 60) -> None:
        """Wait until these fire."""
        eventually(lambda: set(alerts) <= self.firing(), f"{alerts} fire", patience)

    def until_silent(self, *alerts: str, patience: float = 90) -> None:
        """Wait until none of these fires."""
        eventually(lambda: not set(alerts) & self.firing(), f"{alerts} are silent", patience)


def impatient() -> str:
    """Return the alerts as they would be without waiting, and with windows of seconds."""
    read = yaml.safe_load(ALERTS.read_text())
    for group in read["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
            rule["expr"] = re.sub(r"\[\d+[mh]\]", f"[{_WINDOW}]", rule["expr"])
    return str(yaml.safe_dump(read))


@contextmanager
def scraping(folder: Path, stage: Stage) -> Iterator[Prometheus]:
    """Run a Prometheus in a folder of its own."""
    folder.mkdir()
    (folder / "alerts.yaml").write_text(impatient())
    targets, port = folder / "targets.json", ports.pick()
    targets.write_text("[]")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [
            {
                "job_name": "darkroom",
                "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "2s"}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command: list[str | Path] = [
        debian.prometheus(), "--config.file", folder / "prometheus.yaml",
        "--storage.tsdb.path", folder / "data", "--web.listen-address", f"127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}", targets, stage)
        eventually(lambda: _is_up(found.url), "Prometheus is ready", 30)
        yield found
    finally:
        process.kill()
        process.wait()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False, verify=PLAIN).is_success
    except httpx.TransportError:
        return False
