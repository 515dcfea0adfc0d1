"""Conditions that partial indexes and statements share are written once, in `models.states`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from models import states
from tests.guards import sources

ELSEWHERE = [
    path
    for path in sources.files(*sources.CODE)
    if "migrations" not in path.parts and sources.name(path) != "models/states.py"
]
# Those that say more than which status a row has: one word may stand anywhere.
SHARED = {
    name: value
    for name, value in vars(states).items()
    if re.fullmatch(r"(JOB|ROW|DELIVERY)_[A-Z_]+", name) and isinstance(value, str)
}


def strings(path: Path) -> Iterator[str]:
    """Yield what a module writes between quotes, each on one line."""
    for node in sources.nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


def test_what_is_in_flight_is_said_once() -> None:
    assert states.JOB_IN_FLIGHT == "status IN ('released', 'running')"
    assert len(SHARED) >= 10


def test_a_shared_condition_stands_nowhere_else() -> None:
    found = [
        f"{sources.name(path)}: {name}"
        for path in ELSEWHERE
        for text in strings(path)
        for name, condition in SHARED.items()
        if condition in text
    ]
    assert found == []


def test_no_tuple_of_statuses_is_written_beside_those_that_have_a_name() -> None:
    named = {
        frozenset(value)
        for value in vars(states).values()
        if isinstance(value, tuple) and set(value) <= set(states.UNFINISHED + states.TERMINAL)
    }
    found = [
        f"{sources.name(path)}:{node.lineno}"
        for path in ELSEWHERE
        for node in sources.nodes(path)
        if isinstance(node, ast.Tuple | ast.Set | ast.List)
        and len(node.elts) > 1
        and all(isinstance(each, ast.Constant) for each in node.elts)
        and frozenset(each.value for each in node.elts if isinstance(each, ast.Constant)) in named
    ]
    assert found == []
