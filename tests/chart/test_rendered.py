"""What a value comes to in the manifests, number by number and list by list."""

import re
from typing import Any

import pytest

from tests.chart import charts
from tests.chart.charts import Values

Node = Any  # YAML: what is read from it is asserted on at once

NUMBERS: Values = {
    "DARKROOM_IMAGE_MAX_BYTES": 67108864,
    "DARKROOM_FILES_MAX_BYTES": 10737418240,
    "DARKROOM_DELIVERIES_MAX": 1000000,
    "DARKROOM_TICK": 0.25,
    "DARKROOM_LOG_LAG": 1234567.5,
    "DARKROOM_QUEUED_MAX": "2000000",
    "DARKROOM_DATABASE_PREPARE": False,
}
WRITTEN = {name: str(value).lower() for name, value in NUMBERS.items()}


def of_kind(found: list[charts.Document], kind: str) -> dict[str, Node]:
    """Return the manifests of a kind by their names."""
    named: list[Node] = [each for each in found if each["kind"] == kind]
    return {each["metadata"]["name"].removeprefix("darkroom-"): each for each in named}


def environments(found: list[charts.Document]) -> dict[str, dict[str, str]]:
    """Return the plain variables of each role."""
    return {
        role: {
            each["name"]: each["value"]
            for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            if "value" in each
        }
        for role, deployment in of_kind(found, "Deployment").items()
    }


@pytest.mark.parametrize("way", ["values", "--set"])
def test_numbers_of_any_size_come_as_they_were_written(way: str) -> None:
    said = [f"settings.{name}={value}" for name, value in WRITTEN.items()]
    given = charts.values()
    found = (
        charts.manifests(given | {"settings": NUMBERS, "providerLimit": 1000000})
        if way == "values"
        else charts.manifests(given, ",".join(said), "providerLimit=1000000")
    )
    for environment in environments(found).values():
        assert environment.items() >= WRITTEN.items()
        assert environment["DARKROOM_PROVIDER_LIMIT"] == "1000000"


def test_counts_of_any_size_are_whole_numbers() -> None:
    scaling = {"min": 1000000, "max": 3000000, "fallback": 2000000, "requestsInFlight": 1000000}
    many = {"replicas": 1000000, "maxSurge": 1000000, "probes": {"timeout": 1000000}}
    given = charts.values() | charts.KEDA | {"disruption": {"maxUnavailable": 1000000}}
    found = charts.manifests(
        given | {"roles": {"api": many | {"scaling": scaling}, "dispatcher": many}}
    )
    deployments = of_kind(found, "Deployment")
    assert deployments["dispatcher"]["spec"]["replicas"] == 1000000
    assert deployments["api"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 1000000
    (container,) = deployments["api"]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["timeoutSeconds"] == 1000000
    assert of_kind(found, "PodDisruptionBudget")["api"]["spec"]["maxUnavailable"] == 1000000
    scaled = of_kind(found, "ScaledObject")["api"]["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1000000, 3000000)
    assert scaled["fallback"]["replicas"] == 2000000
    assert scaled["triggers"][0]["metadata"]["threshold"] == "1000000"


def test_a_trial_is_as_slow_as_it_is_told() -> None:
    found = charts.manifests({"trial": {"enabled": True, "latency": 1000000.5}})
    (container,) = of_kind(found, "Deployment")["trial-simulator"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["args"][container["args"].index("--latency") + 1] == "1000000.5"


NOBODY: tuple[Node, ...] = ([], None)
SOMEBODY = [{"namespaceSelector": {"matchLabels": {"team": "pictures"}}}]


@pytest.mark.parametrize("nobody", NOBODY)
@pytest.mark.parametrize("calling", [True, False])
@pytest.mark.parametrize("monitoring", [True, False])
def test_an_empty_list_lets_nobody_in(nobody: Node, *, calling: bool, monitoring: bool) -> None:
    lists = {
        "ingressFrom": SOMEBODY if calling else nobody,
        "monitoringFrom": SOMEBODY if monitoring else nobody,
    }
    policies = of_kind(
        charts.manifests(charts.values() | {"networkPolicy": lists}), "NetworkPolicy"
    )
    # Whoever reads metrics reads the api's too.
    both = SOMEBODY * (calling + monitoring)
    to_api = [{"from": both, "ports": [{"protocol": "TCP", "port": "http"}]}]
    to_metrics = [{"from": SOMEBODY, "ports": [{"protocol": "TCP", "port": "metrics"}]}]
    assert policies["to-api"]["spec"]["ingress"] == (to_api if both else [])
    assert policies["to-metrics"]["spec"]["ingress"] == (to_metrics if monitoring else [])


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_an_empty_list_of_destinations_is_any_address_on_that_port(name: str) -> None:
    for to in ([], None, SOMEBODY):
        given = {"networkPolicy": {name: {"port": 7777, "to": to}}}
        found = of_kind(charts.manifests(charts.values() | given), "NetworkPolicy").values()
        (rule,) = (
            rule
            for policy in found
            for rule in policy["spec"].get("egress", ())
            if {"protocol": "TCP", "port": 7777} in rule["ports"]
        )
        assert rule.get("to") == (to or None)


def test_the_migration_runs_where_it_is_told_and_is_labelled_as_the_roles_are() -> None:
    place: Values = {
        "nodeSelector": {"pool": "darkroom"},
        "tolerations": [{"key": "only", "operator": "Equal", "value": "darkroom"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "resources": {"limits": {"memory": "1Gi"}},
    }
    given = {"priorityClassName": "high", "podLabels": {"team": "pictures"}, "migrate": place}
    found = charts.manifests(charts.values() | given)
    pod = of_kind(found, "Job")["migrate"]["spec"]["template"]
    assert pod["metadata"]["annotations"] == place["annotations"]
    spec = pod["spec"]
    assert {name: spec[name] for name in ("nodeSelector", "tolerations", "affinity")} == {
        name: place[name] for name in ("nodeSelector", "tolerations", "affinity")
    }
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    for each in (pod, of_kind(found, "Deployment")["api"]["spec"]["template"]):
        assert each["metadata"]["labels"]["team"] == "pictures"
        assert each["spec"]["priorityClassName"] == "high"


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({}, []),
        ({"grace": 200}, ["DARKROOM_ATTEMPT_TIMEOUT_LARGE (300 s)"]),
        ({"settings": {"DARKROOM_ATTEMPT_TIMEOUT": 400.5}}, ["DARKROOM_ATTEMPT_TIMEOUT (400.5 s)"]),
        ({"settings": {"DARKROOM_DRAIN": "331"}}, ["DARKROOM_DRAIN (331 s)"]),
    ],
)
def test_the_notes_warn_of_a_grace_that_is_too_short(given: Values, warned: list[str]) -> None:
    found = re.findall(r"is shorter than (.*?):", charts.render(charts.values() | given)["NOTES"])
    assert found == warned


def test_authorities_of_a_company_may_be_named_for_https() -> None:
    named = "/etc/darkroom/ca/ca.crt"
    given = {"settings": {"SSL_CERT_FILE": named}, "caBundle": {"existingConfigMap": "ca"}}
    found = charts.manifests(charts.values() | given)
    assert {each["SSL_CERT_FILE"] for each in environments(found).values()} == {named}
    (container,) = of_kind(found, "Deployment")["worker"]["spec"]["template"]["spec"]["containers"]
    mounts = [each["mountPath"] for each in container["volumeMounts"]]
    assert named.rpartition("/")[0] in mounts
