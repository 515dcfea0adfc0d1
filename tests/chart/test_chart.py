"""A real Helm renders the chart: what comes of it is valid, and is what is committed."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart import charts
from tests.chart.charts import CHART, KEDA, MONITORING, Values

PLAIN: Values = {
    "publicUrl": "https://darkroom.example.com",
    "secrets": {"existingSecret": "darkroom"},
    "storage": {"url": "s3://images"},
}
HARDENED: Values = {
    "publicUrl": "https://darkroom.example.com",
    "secrets": {"existingSecret": "darkroom", "as": "files", "rotating": ["AIMLAPI_KEYS_OLD"]},
    "storage": {"existingClaim": "images"},
    "caBundle": {"existingConfigMap": "ca"},
    "image": {"digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "envFrom": [{"secretRef": {"name": "bucket"}}],
    "settings": {"DARKROOM_LOG_LEVEL": "WARNING", "DARKROOM_DATABASE_POOL": 20},
    "priorityClassName": "important",
    "podLabels": {"team": "pictures"},
    "scaling": {"mode": "hpa"},
    "tracing": {"endpoint": "https://collector.example.com", "to": []},
    "networkPolicy": {
        "postgres": {"port": 6432, "to": [{"ipBlock": {"cidr": "10.2.0.0/16"}}]},
        "extraEgress": [
            {
                "to": [{"ipBlock": {"cidr": "10.9.0.1/32"}}],
                "ports": [{"protocol": "TCP", "port": 9000}],
            }
        ],
    },
}
INGRESS: Values = {
    "enabled": True, "host": "darkroom.example.com", "className": "nginx", "tlsSecret": "tls",
}  # fmt: skip
ROUTE: Values = {"enabled": True, "host": "darkroom.example.com", "parents": [{"name": "gateway"}]}
SETS: dict[str, Values] = {
    "plain": PLAIN,
    "everything": PLAIN | KEDA | MONITORING | {"ingress": INGRESS, "httpRoute": ROUTE},
    "hardened": HARDENED,
    "trial": {"trial": {"enabled": True}},
    "open": PLAIN | {"networkPolicy": {"enabled": False}},
}
# What checkov finds and why it stays. What else it finds on plain values is what a cluster decides: a
# digest, `secrets.as: files` and `pullPolicy: Always` are values, those of the hardened set.
ACCEPTED = {
    "CKV_K8S_11": "a limit of CPU throttles heartbeats and polls while the node idles; requests are set",
}


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    charts.tool("python")


def test_what_is_committed_is_what_helm_renders() -> None:
    files = charts.committed()
    for name, text in charts.written().items():
        assert files[name] == text, f"render {name}.yaml again: make chart RENEW=1"


def test_everything_is_valid() -> None:
    texts = [yaml.safe_dump_all(charts.manifests(each)) for each in SETS.values()]
    ran = subprocess.run(
        [charts.tool("python"), charts.PROGRAMS / "validate.py"],
        input="---\n".join(texts), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_a_field_that_nobody_knows_is_found() -> None:
    text = yaml.safe_dump_all(charts.manifests(SETS["everything"]))
    wrong = text.replace("pollingInterval", "polling").replace("scrapeTimeout", "scrape")
    ran = subprocess.run(
        [charts.tool("python"), charts.PROGRAMS / "validate.py"],
        input=wrong.replace("failureThreshold", "failures"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {line.split(":")[0] for line in ran.stdout.splitlines()}
    assert found >= {
        "ScaledObject darkroom-api",
        "ServiceMonitor darkroom",
        "Deployment darkroom-api",
    }


def test_the_notes_say_how_many_connections_postgres_needs() -> None:
    # Two of each role, each with twice its pool of 10, a worker with two more; five for commands.
    notes = charts.render(PLAIN)["NOTES"]
    assert "Postgres must allow 129 connections" in notes
    # Pods that finish their calls are there beside those that take their place.
    assert "While an upgrade replaces pods it must allow 253:" in notes
    assert "THIS IS A TRIAL" in charts.render(SETS["trial"])["NOTES"]


def test_a_trial_has_so_many_connections_and_urls_that_lead_to_the_forwarded_port() -> None:
    given = {"trial": {"enabled": True}, **KEDA}
    rendered = charts.render(given)
    needed = re.search(r"it must allow (\d+)", rendered["NOTES"])
    allowed = re.search(r"max_connections=(\d+)", rendered["trial"])
    assert needed is not None
    assert allowed is not None
    assert int(needed[1]) <= int(allowed[1])
    urls = set(re.findall(r"DARKROOM_PUBLIC_URL, value: (\S+)", rendered["roles"]))
    assert urls == {'"http://127.0.0.1:8000"'}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://otel-collector.monitoring:4318", 4318),
        ("https://collector.example.com", 443),
        ("http://[fd00::1]:4319", 4319),
        ("http://otel-collector", 80),
    ],
)
def test_spans_may_leave_for_their_receiver_and_only_then(endpoint: str, port: int) -> None:
    without, traced = (
        charts.manifests(PLAIN | {"tracing": {"endpoint": each}}) for each in ("", endpoint)
    )
    assert "OTEL_" not in yaml.safe_dump_all(without)
    text = yaml.safe_dump_all(traced)
    assert text.count("name: OTEL_EXPORTER_OTLP_ENDPOINT") == 3  # api, dispatcher, worker
    (policy,) = (each for each in traced if _name(each) == "NetworkPolicy darkroom-from-roles")
    (before,) = (each for each in without if _name(each) == "NetworkPolicy darkroom-from-roles")
    spec, had = policy["spec"], before["spec"]
    assert isinstance(spec, dict)
    assert isinstance(had, dict)
    (rule,) = (each for each in spec["egress"] if each not in had["egress"])
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert rule["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]


def test_checkov_finds_nothing_that_is_not_accepted(tmp_path: Path) -> None:
    safe = {each: HARDENED[each] for each in ("secrets", "image")}
    for name in ("hardened", "everything"):
        given = SETS[name] | safe | {"envFrom": []}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(charts.manifests(given)))
    ran = subprocess.run(
        [charts.tool("checkov"), "--directory", tmp_path, "--framework", "kubernetes",
         "--skip-download", "--skip-check", ",".join(ACCEPTED), "--output", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    results = json.loads(ran.stdout)["results"]
    found = {(each["check_id"], each["resource"]) for each in results["failed_checks"]}
    assert found == set()
    assert len(results["passed_checks"]) > 100


def test_kustomize_builds_what_is_committed() -> None:
    ran = subprocess.run(
        [charts.tool("kubectl"), "kustomize", charts.FOLDER],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    files = charts.committed()
    ours = charts.documents([files[name] for name in charts.BASE])
    assert sorted(map(_name, charts.documents([ran.stdout]))) == sorted(map(_name, ours))


def _name(document: charts.Document) -> str:
    described = document["metadata"]
    assert isinstance(described, dict)
    return f"{document['kind']} {described['name']}"


def test_every_value_has_its_place_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = yaml.safe_load((CHART / "values.yaml").read_text())
    assert known.keys() == schema["properties"].keys() - {"global"}
