"""What roles leave out of what their libraries would load."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_METRICS = "opentelemetry.sdk.metrics"
# Without settings a role has loaded everything when it says so, and ends.
_PROGRAM = f"""
import runpy, sys
try:
    runpy.run_module(sys.argv.pop(), run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert ended.code == 2, ended.code
assert "redis" in sys.modules
print("{_METRICS}" in sys.modules)
import {_METRICS}
"""


@pytest.mark.parametrize("role", ["api", "worker", "worker.dispatcher"])
def test_no_role_loads_the_metrics_that_redis_py_would(role: str) -> None:
    assert find_spec(_METRICS), "where it is not installed nothing can be left out"
    run = subprocess.run(
        (sys.executable, "-c", _PROGRAM, role),
        capture_output=True, text=True, cwd=_ROOT, env={}, check=False,
    )  # fmt: skip
    assert (run.stdout, run.returncode) == ("False\n", 0), run.stderr


def test_redis_py_would_load_them() -> None:
    program = f"import redis, sys; print('{_METRICS}' in sys.modules)"
    run = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, check=True
    )
    assert run.stdout == "True\n", "`models/platform/lean.py` is of no use any more"
