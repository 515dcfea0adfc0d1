"""The pages that list things list all of them: settings, codes, reasons, scopes, words."""

import importlib
import json
import re
import tomllib
from collections.abc import Iterable
from datetime import timedelta
from typing import get_args

from pydantic.fields import FieldInfo

from api.contract.shapes import JobError
from models import errors
from models.platform.db import Base
from models.platform.version import VERSION
from models.settings import LocalSettings, Settings, environment
from models.states import SCOPES, WaitingReason
from tests.fixtures.pages import ROOT

DOCS = ROOT / "docs"
WINGS = (
    *("accounts", "audit_log", "coordination", "images", "jobs", "money", "operating", "provider"),
    "webhooks",
)
# Answers that the HTTP framework gives by itself; see `api/edge/problems.py`.
FRAMEWORK = {"method_not_allowed": "405", "http_error": "any"}


def written(field: FieldInfo) -> str:
    """Return a setting's default as one would write it in the environment."""
    return "required" if field.is_required() else _written(field.get_default())


def _written(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case timedelta():
            return f"{value.total_seconds():.3f}".rstrip("0").rstrip(".")
        case tuple() | frozenset():
            return ",".join(_written(each) for each in value)
        case _:
            return str(value)


def rows(page: str) -> list[list[str]]:
    """Return the cells of each row of a page's tables, without the marks of code."""
    lines = (DOCS / page).read_text().splitlines()
    return [
        [cell.strip().strip("`") for cell in line.strip("| ").split(" | ")]
        for line in lines
        if line.startswith("| ")
    ]


def named(page: str) -> dict[str, list[str]]:
    """Return the rows of a page that have an anchor, by it."""
    anchored = ((re.match(r'<a id="(\w+)"></a>`(\w+)`?$', cells[0]), cells) for cells in rows(page))
    found = {match[1]: cells for match, cells in anchored if match}
    assert found.keys() == {match[2] for match, _ in anchored if match} | found.keys()
    return found


def test_every_setting_is_told_with_its_default() -> None:
    fields = {
        variable: kind.model_fields[name]
        for kind in (LocalSettings, Settings)
        for name, variable in environment.variables(kind).items()
    }
    told = {cells[0]: cells[1:] for cells in rows("settings.md") if cells[0].isupper()}
    assert sorted(told) == sorted(fields)
    assert {name: cells[0] for name, cells in told.items()} == {
        name: written(field) for name, field in fields.items()
    }
    lasting = {name for name, each in fields.items() if "timedelta" in str(each.annotation)}
    assert {name for name in lasting if "seconds" not in told[name][1]} == set()


def test_every_code_has_its_place_among_the_errors() -> None:
    refusals = {each.code: str(each.status) for each in errors.refusals()} | FRAMEWORK
    ends = get_args(JobError.model_fields["code"].annotation)
    told = named("errors.md")
    assert sorted(told) == sorted({*refusals, *ends})
    assert {code: told[code][1] for code in refusals} == refusals


def test_every_reason_to_wait_is_told() -> None:
    assert sorted(named("waiting.md")) == sorted(get_args(WaitingReason))


def test_every_route_is_listed_under_its_scope() -> None:
    described = json.loads((ROOT / "tests" / "guards" / "openapi.json").read_text())
    scopes = (*SCOPES, "operator")
    opens: dict[str, set[str]] = {scope: set() for scope in scopes}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for scope in (
                scope for each in operation.get("security", ()) for scope in each["HTTPBearer"]
            ):
                opens[scope].add(f"{method.upper()} {path}")
    told = {cells[0]: set(re.findall(r"[A-Z]+ /v1/[^`]+", cells[1])) for cells in rows("keys-and-scopes.md")
            if cells[0] in scopes}  # fmt: skip
    assert told == opens


def test_the_glossary_is_in_order_and_names_every_table_and_noun() -> None:
    told = {
        cells[0]: re.findall(r"[\w./]+", cells[2].replace("`", ""))
        for cells in rows("glossary.md")[1:]
    }
    words = [word.lower() for word in told]
    assert words == sorted(words)
    places = {place for found in told.values() for place in found}
    tables = {name: table.columns.keys() for name, table in Base.metadata.tables.items()}
    columns = {f"{name}.{column}" for name, held in tables.items() for column in held}
    unknown = places - columns - set(tables)
    assert {place for place in unknown if not _is_module(place)} == set()
    assert set(tables) - {place.partition(".")[0] for place in places} == set()
    assert set(_nouns()) - places == set()


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ("version" in project, project["dynamic"]) == (False, ["version"])
    described = json.loads((ROOT / "tests" / "guards" / "openapi.json").read_text())
    assert described["info"]["version"] == VERSION


def _nouns() -> Iterable[str]:
    """List the modules that the wings of the domain let others use."""
    for wing in WINGS:
        opened = importlib.import_module(f"models.{wing}").__all__
        yield from (
            f"models/{wing}/{name}" for name in opened if _is_module(f"models/{wing}/{name}")
        )


def _is_module(place: str) -> bool:
    return (ROOT / place).is_dir() or (ROOT / f"{place}.py").is_file()


def test_the_recipe_of_a_table_has_the_next_number_of_a_migration() -> None:
    (told,) = re.findall(r"--rev-id (\d{4})", (ROOT / "CONTRIBUTING.md").read_text())
    versions = (ROOT / "models" / "migrations" / "versions").glob("[0-9]*.py")
    assert int(told) == max(int(each.name[:4]) for each in versions) + 1
