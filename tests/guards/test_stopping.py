"""A process obeys SIGTERM before it loads anything: as process 1 it would ignore it meanwhile."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAINS = [
    path for room in ("api", "worker", "models") for path in (ROOT / room).rglob("__main__.py")
]
BEGINNING = """
import signal
import sys
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STATUS))
"""


def test_there_are_the_roles_and_the_commands() -> None:
    found = {str(path.relative_to(ROOT).parent) for path in MAINS}
    assert found >= {"api", "worker", "worker/dispatcher", "models"}


@pytest.mark.parametrize("path", MAINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_statements_say_what_sigterm_does(path: Path) -> None:
    _, *statements = ast.parse(path.read_text()).body
    wanted = ast.parse(BEGINNING).body
    told = ast.unparse(ast.Module(statements[: len(wanted)], type_ignores=[]))
    role = path.parent.name in {"api", "worker", "dispatcher"}
    # A command that was told to stop has not done what it was for.
    status = "0" if role else "128 + signal.SIGTERM"
    assert told == ast.unparse(ast.parse(BEGINNING.replace("STATUS", status)))
