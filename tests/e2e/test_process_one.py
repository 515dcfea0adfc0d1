"""Each role as process 1, as in a container without an init: SIGTERM is obeyed from the beginning."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.servers.server import wait_until
from tests.conftest import make_settings
from tests.e2e import stage as stages
from tests.e2e.stage import ROOT

PATIENCE = 20.0  # seconds to start, and to stop, on a busy machine
NOWHERE = "postgresql://darkroom:word@127.0.0.1:1/darkroom"
ROLES = ("api", "worker.dispatcher", "worker")

UNSHARE = shutil.which("unshare")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(UNSHARE is None, reason="needs unshare, of util-linux"),
]


def as_process_one(
    module: str, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a module as the first process of a PID namespace of its own."""
    with log.open("wb") as out:
        return subprocess.Popen(
            (UNSHARE or "", "--user", "--map-root-user", "--pid", "--fork", "--kill-child",
             sys.executable, "-m", module),
            cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip


def inner(unshared: "subprocess.Popen[bytes]") -> int | None:
    """Return our id of the process that is 1 to itself; None before it catches SIGTERM (proc(5))."""
    with suppress(OSError, IndexError):
        pid = Path(f"/proc/{unshared.pid}/task/{unshared.pid}/children").read_text().split()[0]
        status = Path(f"/proc/{pid}/status").read_text()
        (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
        return int(pid) if int(caught, 16) >> (signal.SIGTERM - 1) & 1 else None
    return None


@pytest.mark.parametrize("until", ["it catches SIGTERM", "waiting.postgres"])
@pytest.mark.parametrize("module", ROLES)
def test_a_role_that_starts_or_waits_for_postgres_obeys_sigterm(
    module: str, until: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url=NOWHERE, storage_url=str(tmp_path / "images"))
    environment = stages.role_environment(
        settings,
        {"DARKROOM_PORT": str(ports.pick()), "DARKROOM_METRICS_PORT": str(ports.pick())},
    )
    log = tmp_path / "log"
    process = as_process_one(module, environment, log)
    try:
        assert wait_until(lambda: inner(process) is not None, PATIENCE), log.read_text()
        assert wait_until(lambda: until != "waiting.postgres" or until in log.read_text(), PATIENCE)
        pid = inner(process)
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
