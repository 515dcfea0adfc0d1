"""`make demo` and `make up`, as a person runs them: what they print is true, and nothing stays behind."""

import asyncio
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from deploy.local import ports
from deploy.simulator import Running
from models.settings import inherited
from tests.e2e.shapes import Job
from tests.e2e.stage import KEY, PRICE, ROOT, eventually
from tests.fixtures import pages

START = 60.0  # seconds for the whole stack, cold, and one simulated job of 2 s
TIMELINE = [
    "accepted", "dispatched to a worker", "sent to the provider, attempt 1", "image kept",
    "charged 91,000 credits ($0.0455)", "webhook verified, job.succeeded",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that nobody has used; the tests of this module use it one after the other."""
    return tmp_path_factory.mktemp("local") / "data"


@pytest.fixture(scope="module")
def shown(data: Path) -> str:
    """Run the demo once; returns all that it printed."""
    with _stack("demo", data) as (process, output):
        assert process.wait(START) == 0, output.read_text()
        return output.read_text()


@pytest.mark.long
def test_the_demo_shows_the_main_job_and_ends(shown: str, data: Path) -> None:
    lines = [line for line in shown.splitlines() if re.match(r" *[0-9]+\.[0-9]{3} s  ", line)]
    told = " / ".join(lines)
    assert [step for step in TIMELINE if step not in told] == []
    assert "a SIMULATOR; nothing is spent" in shown
    (jpeg,) = re.findall(r"the JPEG, 2048x2048: (.+)", shown)
    assert Path(jpeg).read_bytes().startswith(b"\xff\xd8")
    assert shown.splitlines()[-1] == "all stopped"
    assert (data / "api-key").stat().st_mode & 0o777 == 0o600
    assert _living(data) == []


@pytest.mark.long
@pytest.mark.usefixtures("shown")
def test_a_second_start_is_warm_its_curl_works_and_ctrl_c_stops_all(data: Path) -> None:
    kept = (data / "api-key").read_text()
    with _stack("up", data) as (process, output):
        eventually(lambda: "it stays up until Ctrl-C" in output.read_text(), "it is up", START)
        (command,) = re.findall(r"curl .+", output.read_text())
        job = Job.model_validate_json(_run(command))
        assert job.status == "succeeded"
        assert job.cost.charged == PRICE
        assert job.id in output.read_text()
        _try_the_readme(data, port=httpx.URL(shlex.split(command)[-1]).port)

        process.send_signal(signal.SIGINT)

        assert process.wait(30) == 0
        assert output.read_text().splitlines()[-1] == "all stopped"
    assert (data / "api-key").read_text() == kept
    assert _living(data) == []


@pytest.mark.long
async def test_a_provider_that_costs_money_is_paid_for_the_example_once(
    provider: Running, tmp_path: Path
) -> None:
    real = {"AIMLAPI_KEY": KEY, "AIMLAPI_BASE_URL": provider.url}
    data, calls, up = tmp_path / "data", provider.world.calls.all, "it stays up until Ctrl-C"
    first = await asyncio.to_thread(_started, "up", data, up, real)
    assert "the REAL provider" in first
    assert len(calls) == 1
    again = await asyncio.to_thread(_started, "up", data, up, real)
    (made,) = re.findall(r"the example was made before, (job_\w+)", again)
    assert made in first
    assert f"/v1/jobs/{made}'" in again
    assert len(calls) == 1


def test_a_taken_port_is_one_clear_line(data: Path) -> None:
    port = ports.pick()
    with (
        socket.create_server(("127.0.0.1", port)),
        _stack("demo", data, DARKROOM_PORT=str(port)) as (process, output),
    ):
        assert process.wait(START) == 2
        (line,) = output.read_text().splitlines()
    assert line == f"darkroom: port {port} is taken; stop what uses it or set DARKROOM_PORT"


@contextmanager
def _stack(
    command: str, data: Path, **settings: str
) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    """Start the local stack; returns its process and the file with all that it prints."""
    ours = ("DARKROOM_", "AIMLAPI_", "DATABASE_URL", "REDIS_URL")
    kept = {name: value for name, value in inherited().items() if not name.startswith(ours)}
    output = data.with_name(f"{command}.out")
    with output.open("wb") as out:
        process = subprocess.Popen(
            (sys.executable, "-m", "deploy.local", command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**kept, "DARKROOM_DATA": str(data), "DARKROOM_PORT": str(ports.pick())} | settings,
        )
    try:
        yield process, output
    finally:
        process.kill()  # its children die with it
        process.wait()


def _started(command: str, data: Path, until: str, settings: Mapping[str, str]) -> str:
    """Run the stack until it has printed `until`; return all that it printed."""
    with _stack(command, data, **settings) as (process, output):
        eventually(lambda: until in output.read_text(), until, START)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        return output.read_text()


def _try_the_readme(data: Path, port: int | None) -> None:
    """Run the README's first command against the stack that is up; test_docs.py runs all others."""
    readme = ROOT / "README.md"
    command = pages.blocks(readme, "sh")[0].text.replace(".darkroom", str(data))
    ran = subprocess.run(
        (shutil.which("bash") or "/bin/bash", "-euc", command),
        env=inherited() | {"DARKROOM_PORT": str(port)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Job.model_validate_json(ran.stdout).status == "succeeded"
    for target in re.findall(r"(?:^\$ |`)make ([a-z]+)", readme.read_text(), re.MULTILINE):
        assert f"\n{target}: " in (ROOT / "Makefile").read_text(), f"make {target}"


def _run(command: str) -> str:
    """Run a printed `curl` line, or send what it says where there is no curl."""
    words = shlex.split(command)
    if shutil.which("curl"):
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    name, _, value = words[words.index("-H") + 1].partition(": ")
    return httpx.get(words[-1], headers={name: value}).text


def _living(data: Path) -> list[str]:
    """Find processes that have the folder in their command or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            if any(str(data).encode() in each for each in told):
                found.append(told[0].replace(b"\0", b" ").decode())
    return found
