"""What an Ingress and an HTTPRoute lead to: all that clients need, and nothing that needs no key."""

from collections.abc import Callable, Sequence

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from api.app import create_app
from models.settings import Settings
from tests.chart import charts
from tests.chart.test_rendered import Node, of_kind

HIDDEN = {"/metrics", "/healthz", "/readyz"}
HOST = "darkroom.example.com"
INGRESS: Node = {"ingress": {"enabled": True, "host": HOST}}
ROUTE: Node = {"httpRoute": {"enabled": True, "host": HOST, "parents": [{"name": "gateway"}]}}


def of_ingress(given: Node) -> list[tuple[str, str]]:
    found = of_kind(charts.manifests(charts.values() | given), "Ingress")["darkroom"]
    (rule,) = found["spec"]["rules"]
    return [(each["pathType"], each["path"]) for each in rule["http"]["paths"]]


def of_route(given: Node) -> list[tuple[str, str]]:
    found = of_kind(charts.manifests(charts.values() | given), "HTTPRoute")["darkroom"]
    (rule,) = found["spec"]["rules"]
    paths = [each["path"] for each in rule["matches"]]
    return [(each["type"].removeprefix("Path"), each["value"]) for each in paths]


def leads(rules: Sequence[tuple[str, str]], path: str) -> bool:
    """Return whether a path is led on, as both kinds compare: exactly, or segment by segment."""
    return any(
        path == given or (kind == "Prefix" and path.startswith(f"{given}/"))
        for kind, given in rules
    )


@pytest.mark.parametrize(("found", "given"), [(of_ingress, INGRESS), (of_route, ROUTE)])
def test_what_clients_need_is_reached_and_what_needs_no_key_is_not(
    found: Callable[[Node], list[tuple[str, str]]], given: Node, settings: Settings
) -> None:
    rules = found(given)
    paths = {
        each.path for each in create_app(settings).routes if isinstance(each, APIRoute | Route)
    }
    assert paths >= HIDDEN
    assert {path for path in paths if not leads(rules, path)} == HIDDEN


def test_an_ingress_below_a_path_leads_to_the_same() -> None:
    below = of_ingress({"ingress": INGRESS["ingress"] | {"path": "/pictures"}})
    assert below == [(kind, f"/pictures{path}") for kind, path in of_ingress(INGRESS)]
