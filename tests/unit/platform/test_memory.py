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

# Once a large block was freed, blocks of a megabyte; then one that lies behind them.
_BLOCKS = """
import sys
from pathlib import Path
from models.platform.memory import spare_memory
if "spare" in sys.argv:
    spare_memory()
large = b"x" * (4 << 20)
del large
blocks = [b"x" * ((1 << 20) + each) for each in range(64)]
last = b"x" * 100_000
del blocks
(line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in each)
print(line.split()[1])
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


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library has such a threshold")
def test_a_large_block_goes_back_to_the_system_once_it_is_freed() -> None:
    assert _kilobytes() - _kilobytes("spare") > 32 * 1024


def _kilobytes(*arguments: str) -> int:
    command = (sys.executable, "-c", _BLOCKS, *arguments)
    run = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, check=True)
    return int(run.stdout)
