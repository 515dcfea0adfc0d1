"""What a role has freed, all of its threads can use."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_ROLES = ("api/__main__.py", "worker/__main__.py", "worker/dispatcher/__main__.py")
# Eight threads that allocate beside each other; then the C library says of which arenas.
_PROGRAM = """
import ctypes, sys, threading
from models.platform.memory import spare_memory
if "share" in sys.argv:
    spare_memory()
together = threading.Barrier(8)
def allocate():
    kept = bytes(10_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
ctypes.CDLL(None).malloc_stats()
"""


def _arenas(*arguments: str) -> int:
    command = (sys.executable, "-c", _PROGRAM, *arguments)
    run = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, check=True)
    return run.stderr.count("Arena ")


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library has arenas to share")
def test_threads_share_two_arenas() -> None:
    assert _arenas("share") == 2
    assert _arenas() > 2


@pytest.mark.parametrize("role", _ROLES)
def test_every_role_shares_them_before_it_starts_a_thread(role: str) -> None:
    tree = ast.parse((_ROOT / role).read_text())
    last = tree.body[-1]
    assert isinstance(last, ast.If)
    assert [ast.unparse(each) for each in last.body] == ["spare_memory()", "sys.exit(main())"]
