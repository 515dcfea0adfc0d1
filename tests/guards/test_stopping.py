"""A process obeys SIGTERM before it loads anything: as process 1 it would ignore it meanwhile."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAINS = [
    path for room in ("api", "worker", "models") for path in (ROOT / room).rglob("__main__.py")
]
BEGINNING = """
import os
import signal
import sys
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(STATUS))
"""
# Python drops what is raised in a finalizer, and goes on.
FINALIZER = """
class Told:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
Told()
sys.exit("it went on")
"""


def test_there_are_the_roles_and_the_commands() -> None:
    found = {str(path.relative_to(ROOT).parent) for path in MAINS}
    assert found >= {"api", "worker", "worker/dispatcher", "models"}


@pytest.mark.parametrize("path", MAINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_statements_say_what_sigterm_does(path: Path) -> None:
    wanted = ast.unparse(ast.parse(BEGINNING.replace("STATUS", status(path)[0])))
    assert beginning(path) == wanted


@pytest.mark.parametrize("path", MAINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sigterm_is_obeyed_where_python_takes_no_exception(path: Path) -> None:
    program = beginning(path) + FINALIZER
    ended = subprocess.run((sys.executable, "-c", program), capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (status(path)[1], b"")


def beginning(path: Path) -> str:
    """Return the first statements of a module, after its docstring."""
    _, *statements = ast.parse(path.read_text()).body
    wanted = len(ast.parse(BEGINNING).body)
    return ast.unparse(ast.Module(statements[:wanted], type_ignores=[]))


def status(path: Path) -> tuple[str, int]:
    """Return what a module ends with, as written and as a number.

    A command that was told to stop has not done what it was for.
    """
    role = path.parent.name in {"api", "worker", "dispatcher"}
    return ("0", 0) if role else ("128 + signal.SIGTERM", 128 + signal.SIGTERM)
