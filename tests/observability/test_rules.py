"""Every alert fires on what it is for, is silent otherwise, and says what to do; so is the dashboard."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from deploy.observability import dashboard
from tests.fixtures import debian
from tests.fixtures.pages import ROOT
from tests.guards.test_metric_names import exported
from tests.observability.cases import ABSENT, CASES, MORE, Series

FOLDER = ROOT / "deploy" / "observability"
ALERTS = FOLDER / "alerts.yaml"


def rules() -> list[Mapping[str, object]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_there_is_a_case_of_each_alert() -> None:
    assert sorted([*CASES, "DarkroomRoleMissing"]) == sorted(str(rule["alert"]) for rule in rules())


def test_promtool_accepts_the_rules() -> None:
    checked = subprocess.run(
        [debian.promtool(), "check", "rules", "--lint-fatal", ALERTS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_each_alert_fires_on_what_it_is_for_and_is_silent_otherwise(tmp_path: Path) -> None:
    pairs = (
        (alert, each)
        for alert, (bad, good) in CASES.items()
        for each in ((bad, True), (good, False))
    )
    cases = [*((alert, *each) for alert, each in pairs), *MORE]
    # All at once, each in a namespace of its own, and beside all others.
    here = {
        name: values
        for number, case in enumerate(cases)
        for name, values in _within(f"n{number}", case[1])
    }
    asked = [(f'ALERTS{{alertname="{alert}",namespace="n{number}",alertstate="firing"}}', fires)
             for number, (alert, _, fires) in enumerate(cases)]  # fmt: skip
    _play(tmp_path, [_test(here, asked)])


def test_a_role_is_missed_in_the_installation_that_has_it_not(tmp_path: Path) -> None:
    missed = (
        'group by (namespace, role) (ALERTS{alertname="DarkroomRoleMissing",alertstate="firing"})'
    )
    cases = []
    for series, missing in ABSENT:
        labels = [{"role": role} | ({"namespace": name} if name else {}) for name, role in missing]
        asked = {
            "expr": missed,
            "eval_time": "70m",
            "exp_samples": [{"labels": _selector(each), "value": 1} for each in labels],
        }
        cases.append(_test(series, []) | {"promql_expr_test": [asked]})
    _play(tmp_path, cases)


def _selector(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _play(tmp_path: Path, tests: Sequence[Mapping[str, object]]) -> None:
    told = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": list(tests)}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(told))
    ran = subprocess.run(
        [debian.promtool(), "test", "rules", tmp_path / "cases.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _within(namespace: str, series: Series) -> Iterator[tuple[str, str]]:
    for name, values in series.items():
        metric, _, labels = name.rstrip("}").partition("{")
        yield f'{metric}{{namespace="{namespace}"{"," if labels else ""}{labels}}}', values


def _test(series: Series, asked: Sequence[tuple[str, bool]]) -> dict[str, object]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count(count by (alertname) ({expr}))",
                "eval_time": "70m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
            for expr, fires in asked
        ],
    }


def test_alerts_and_panels_ask_for_metrics_that_there_are() -> None:
    suffixes = ("_bucket", "_sum", "_count")
    known = {*exported(), *(name + suffix for name in exported() for suffix in suffixes)}
    asked = set(re.findall(r"darkroom_\w+", ALERTS.read_text() + dashboard.written()))
    assert asked - known == set()


def test_each_alert_says_how_bad_it_is_and_what_was_seen() -> None:
    for rule in rules():
        assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
        assert "summary" in str(rule["annotations"])


def test_each_alert_has_its_section_of_what_to_do() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    told = re.findall(r"^\| <a id=\"\w+\"></a>`(Darkroom\w+)`", page, re.MULTILINE)
    assert sorted(told) == sorted(str(rule["alert"]) for rule in rules())


def test_the_dashboard_is_what_its_program_writes() -> None:
    assert (FOLDER / "dashboard.json").read_text() == dashboard.written()
    board = json.loads(dashboard.written())
    assert len(board["panels"]) == 12
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in board["panels"]]
    assert len(set(places)) == 12


def test_each_query_of_a_panel_is_promql(tmp_path: Path) -> None:
    queries = [expr for panel in dashboard.PANELS for expr in panel.queries.values()]
    written = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(queries)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": written}]}))
    checked = subprocess.run(
        [debian.promtool(), "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
