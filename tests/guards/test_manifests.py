"""The committed manifests agree with the chart, with the code, and with one another; without Helm."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from tempfile import gettempdir
from typing import Any

import pytest
import yaml

from models import settings
from models.platform.version import VERSION
from models.settings import Settings, environment
from tests.chart import charts
from tests.chart.charts import CHART, FOLDER
from tests.fixtures.pages import ROOT

ROLES = {"api": "api", "dispatcher": "worker.dispatcher", "worker": "worker"}
SECRETS = {
    "DATABASE_URL": "postgresql://darkroom:secret@postgres/darkroom",
    "REDIS_URL": "redis://redis:6379/0",
    "DARKROOM_SECRET": "s" * 32,
    "AIMLAPI_KEY": "a-key",
}
Node = Any  # YAML: what is read from it is asserted on at once


@pytest.fixture(scope="module")
def found() -> Sequence[Node]:
    """Every committed manifest."""
    files = charts.committed()
    return charts.documents([files[name] for name in (*charts.BASE, *charts.MORE)])


def of_kind(found: Sequence[Node], *kinds: str) -> list[Node]:
    return [each for each in found if each["kind"] in kinds]


def pods(found: Sequence[Node]) -> Mapping[str, Node]:
    """Return the pod templates by the name of who makes them."""
    return {
        each["metadata"]["name"].removeprefix("darkroom-"): each["spec"]["template"]
        for each in of_kind(found, "Deployment", "Job")
    }


def container(pod: Node) -> Node:
    (only,) = pod["spec"]["containers"]
    return only


def given(pod: Node) -> dict[str, str]:
    """Return a pod's environment, with secrets as its Secret may have them."""
    return {
        each["name"]: each.get("value") or SECRETS[each["valueFrom"]["secretKeyRef"]["key"]]
        for each in container(pod)["env"]
        if "value" in each or not each["valueFrom"]["secretKeyRef"].get("optional")
    }


def chosen(
    found: Sequence[Node], labels: Mapping[str, str], matching: Sequence[Node] = ()
) -> list[str]:
    """Return the pods that a selector chooses."""
    return [
        name
        for name, pod in pods(found).items()
        if labels.items() <= pod["metadata"]["labels"].items()
        and all(pod["metadata"]["labels"].get(each["key"]) in each["values"] for each in matching)
    ]


def selected(found: Sequence[Node], selector: Node) -> list[str]:
    return chosen(found, selector.get("matchLabels", {}), selector.get("matchExpressions", ()))


def test_they_are_of_this_chart() -> None:
    files = charts.committed()
    stale = [name for name in (*charts.BASE, *charts.MORE) if charts.digest() not in files[name]]
    assert stale == [], "render them again: make chart RENEW=1"


def test_kustomize_takes_what_every_cluster_knows() -> None:
    read = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(read["resources"]) == sorted(f"{name}.yaml" for name in charts.BASE)


def test_there_is_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {VERSION}


def test_there_is_a_pod_of_every_role(found: Sequence[Node]) -> None:
    commands = {name: container(pod)["command"] for name, pod in pods(found).items()}
    migrate = {"migrate": ["python", "-m", "models", "migrate"]}
    assert commands == {name: ["python", "-m", module] for name, module in ROLES.items()} | migrate
    for module in ROLES.values():
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_the_environment_of_a_role_is_one_that_it_starts_with(
    role: str, found: Sequence[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = pods(found)[role]
    for name, value in given(pod).items():
        monkeypatch.setenv(name, value)
    loaded = settings.load()  # refuses names that it does not know
    names = {each["name"] for each in container(pod)["env"]}
    assert names <= environment.names(Settings)
    (port,) = container(pod)["ports"]
    assert port["containerPort"] == (loaded.port if role == "api" else loaded.metrics_port)
    assert {loaded.host, loaded.metrics_host} == {str(IPv4Address(0))}  # every address of the pod


def test_only_those_who_call_the_provider_know_its_key(found: Sequence[Node]) -> None:
    knowing = {
        name
        for name, pod in pods(found).items()
        if any(each["name"].startswith("AIMLAPI_KEY") for each in container(pod)["env"])
    }
    assert knowing == {"dispatcher", "worker"}
    assert [each["name"] for each in container(pods(found)["migrate"])["env"]] == ["DATABASE_URL"]


def test_a_pod_has_twenty_seconds_more_than_its_process(found: Sequence[Node]) -> None:
    for role in ROLES:
        pod = pods(found)[role]
        grace = int(given(pod)["DARKROOM_GRACE"])
        stops = (
            container(pod)
            .get("lifecycle", {})
            .get("preStop", {"exec": {"command": ["sleep", "0"]}})
        )
        assert pod["spec"]["terminationGracePeriodSeconds"] == grace + 20
        assert int(stops["exec"]["command"][1]) < 20
    default: timedelta = Settings.model_fields["grace"].default
    assert grace == default.total_seconds()


def test_the_notes_know_how_long_a_call_takes() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    told = re.findall(r'"DARKROOM_(ATTEMPT_TIMEOUT|ATTEMPT_TIMEOUT_LARGE|DRAIN)" (\d+)', notes)
    assert len(told) == 3
    for name, seconds in told:
        assert Settings.model_fields[name.lower()].default == timedelta(seconds=int(seconds))


def test_probes_ask_where_the_role_answers_and_long_enough(found: Sequence[Node]) -> None:
    for role in ROLES:
        only = container(pods(found)[role])
        (port,) = only["ports"]
        for probe, path in (
            ("startup", "/healthz"),
            ("liveness", "/healthz"),
            ("readiness", "/readyz"),
        ):
            asked = only[f"{probe}Probe"]["httpGet"]
            assert asked == {"path": path, "port": port["name"]}
    # It may ask a Postgres that is silent before it answers (`_PATIENCE` of `models/platform/db`).
    assert container(pods(found)["worker"])["livenessProbe"]["timeoutSeconds"] > 35


def test_pods_are_restricted(found: Sequence[Node]) -> None:
    for pod in pods(found).values():
        spec, only = pod["spec"], container(pod)
        assert spec["securityContext"].items() >= {
            "runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"},
        }.items()  # fmt: skip
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert gettempdir() in [each["mountPath"] for each in only["volumeMounts"]]
        assert only["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in only["resources"]["limits"]


def test_every_selector_chooses_the_pods_that_it_is_for(found: Sequence[Node]) -> None:
    for each in of_kind(found, "Deployment", "PodDisruptionBudget"):
        role = each["metadata"]["name"].removeprefix("darkroom-")
        assert selected(found, each["spec"]["selector"]) == [role]
    for each in of_kind(found, "NetworkPolicy"):
        assert selected(found, each["spec"]["podSelector"]), each["metadata"]["name"]
    for each in of_kind(found, "ScaledObject"):
        assert each["spec"]["scaleTargetRef"]["name"].removeprefix("darkroom-") in ROLES


def test_services_lead_to_the_port_of_a_role(found: Sequence[Node]) -> None:
    services = {each["metadata"]["name"]: each for each in of_kind(found, "Service")}
    assert services.keys() == {"darkroom", "darkroom-dispatcher", "darkroom-worker"}
    for each in services.values():
        (name,) = chosen(found, each["spec"]["selector"])
        (port,) = each["spec"]["ports"]
        assert [port["targetPort"]] == [
            each["name"] for each in container(pods(found)[name])["ports"]
        ]


def test_prometheus_finds_every_role(found: Sequence[Node]) -> None:
    (monitor,) = of_kind(found, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]
    scraped = {port["port"] for port in monitor["spec"]["endpoints"]}
    reached = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in of_kind(found, "Service")
        if wanted["matchLabels"].items() <= each["metadata"]["labels"].items()
        and scraped & {port["name"] for port in each["spec"]["ports"]}
        and all(
            each["metadata"]["labels"][rule["key"]] in rule["values"]
            for rule in wanted["matchExpressions"]
        )
    }
    assert reached == ROLES.keys()
    (rules,) = of_kind(found, "PrometheusRule")
    alerts = yaml.safe_load((ROOT / "deploy" / "observability" / "alerts.yaml").read_text())
    assert rules["spec"] == alerts
    (board,) = of_kind(found, "ConfigMap")
    dashboard = (ROOT / "deploy" / "observability" / "dashboard.json").read_text()
    assert board["data"] == {"darkroom.json": dashboard}


def allowed(found: Sequence[Node], name: str, way: str) -> Iterator[Node]:
    """Yield the rules that open a way for a pod, `ingress` or `egress`."""
    for each in of_kind(found, "NetworkPolicy"):
        if name in selected(found, each["spec"]["podSelector"]):
            yield from each["spec"].get(way, ())


def test_nobody_reaches_private_addresses_but_postgres_redis_and_names(
    found: Sequence[Node],
) -> None:
    (deny,) = (
        each
        for each in of_kind(found, "NetworkPolicy")
        if "default-deny" in each["metadata"]["name"]
    )
    assert deny["spec"].keys() == {"podSelector", "policyTypes"}
    assert sorted(selected(found, deny["spec"]["podSelector"])) == sorted([*ROLES, "migrate"])
    for name in pods(found):
        open_ports = set()
        for rule in allowed(found, name, "egress"):
            blocks = [each["ipBlock"] for each in rule.get("to", ()) if "ipBlock" in each]
            ports = {each["port"] for each in rule["ports"]}
            open_ports |= ports
            if 443 in ports:
                assert blocks
            for secret in (
                "10.1.2.3",
                "172.16.0.9",
                "192.168.1.1",
                "169.254.169.254",
                "fd00:ec2::254",
            ):
                assert not any(_within(secret, block) for block in blocks)
        assert open_ports == ({53, 5432} if name == "migrate" else {53, 5432, 6379, 443})


def _within(address: str, block: Node) -> bool:
    """Return whether a block of a policy has an address."""
    at, whole = ip_address(address), ip_network(block["cidr"])
    same = at.version == whole.version
    return same and at in whole and not any(at in ip_network(each) for each in block["except"])


def test_scaling_asks_for_metrics_that_there_are(found: Sequence[Node]) -> None:
    objects = {each["metadata"]["name"]: each["spec"] for each in of_kind(found, "ScaledObject")}
    queries = {
        name: [
            each["metadata"]["query"] for each in spec["triggers"] if each["type"] == "prometheus"
        ]
        for name, spec in objects.items()
    }
    assert queries == {
        "darkroom-api": ['sum(darkroom_http_requests_in_flight{namespace="darkroom"})'],
        "darkroom-worker": [
            f'max(darkroom_slots_wanted{{kind="{kind}",namespace="darkroom"}})'
            for kind in ("deliver", "generate")
        ],
    }
    text = (ROOT / "docs" / "metrics.md").read_text()
    for name in re.findall(r"darkroom_\w+", str(queries)):
        assert f"`{name}`" in text
    slots = [each["metadata"]["threshold"] for each in objects["darkroom-worker"]["triggers"]]
    environment_ = given(pods(found)["worker"])
    assert slots == [
        environment_["DARKROOM_DELIVER_SLOTS"],
        environment_["DARKROOM_GENERATE_SLOTS"],
    ]
    for spec in objects.values():
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] == 600
        assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_the_chart_knows_every_setting_that_is_no_secret() -> None:
    names = environment.names(Settings)
    plain = {name for name in names if f"{name}_FILE" not in names and not name.endswith("_FILE")}
    known = (CHART / "files" / "settings.txt").read_text().split()
    assert known == sorted(name for name in plain if not name.startswith("OTEL_"))


def test_the_chart_refuses_what_it_sets_itself_and_secrets_among_the_settings() -> None:
    text = (CHART / "templates" / "_demand.tpl").read_text()
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    secrets = {
        name.removesuffix("_FILE") for name in environment.names(Settings) if name.endswith("_FILE")
    }
    named = set(re.findall(r'"((?:DARKROOM|AIMLAPI|DATABASE|REDIS|OTEL)_\w+)"', text))
    assert named == secrets | set(
        re.findall(r'^(?:  |.* set \$plain )"((?:DARKROOM|OTEL)_\w+)" ', helpers, re.MULTILINE)
    ) - {"DARKROOM_EGRESS_ALLOW"}  # of a trial alone
