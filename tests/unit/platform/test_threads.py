"""No event loop waits 5 ms for another thread of its process."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.platform.threads import give_way

_ROLES = ("api/__main__.py", "worker/runtime/loop.py", "worker/dispatcher/__main__.py")


@pytest.fixture
def interval() -> Iterator[float]:
    """What it was before the test, and is again after it."""
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_a_thread_gives_way_ten_times_sooner_than_python_has_it(interval: float) -> None:
    give_way()
    assert sys.getswitchinterval() == pytest.approx(interval / 10)


@pytest.mark.parametrize("role", _ROLES)
def test_every_role_does(role: str) -> None:
    source = (Path(__file__).parents[3] / role).read_text()
    calls = (each.func for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call))
    assert "give_way" in {each.id for each in calls if isinstance(each, ast.Name)}
