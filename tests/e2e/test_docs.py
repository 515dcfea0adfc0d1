"""The commands of README.md and docs/, run in the order in which a reader runs them.

The reader has `make up` running, and is in the folder of the checkout. So is the shell here, in effect:
`.darkroom` has the same files, and the addresses are those of the stage. A command that fails, or is
refused by the API, fails the page.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from deploy.local.servers import valkey
from tests.e2e import stage as stages
from tests.e2e.stage import ROOT, Stage, project
from tests.fixtures import pages
from tests.fixtures.pages import PAGES
from tests.fixtures.zones import NOON

PATIENCE = 60  # seconds for all commands of a page
# A refusal fails: the pages leave `--fail-with-body` out, so that people see what is said.
PRELUDE = 'curl() { command curl --fail-with-body --max-time 30 "$@"; }\n'

COMMANDED = [page for page in PAGES if pages.blocks(page, "sh")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Stage]:
    """A Darkroom of the pages alone: they leave budgets, jobs and webhooks behind that reach nobody."""
    folder = tmp_path_factory.mktemp("docs")
    with (
        valkey.serve(folder / "redis") as redis,
        stages.opened(folder / "stage", postgres_server, redis.url) as opened,
    ):
        opened.fill()
        yield opened


@pytest.fixture(scope="module")
def key(stage: Stage) -> str:
    """A key of a project of its own: the stage's own key is held against what it has accepted."""
    return asyncio.run(project(stage.settings, "docs"))[0]


@pytest.fixture
def checkout(stage: Stage, key: str, tmp_path: Path) -> Path:
    """A folder that looks to a reader as the checkout does while `make up` runs."""
    data = tmp_path / ".darkroom"
    logs = data / "logs"
    logs.mkdir(parents=True)
    (data / "api-key").write_text(f"{key}\n")
    (data / "simulator-port").write_text(stage.simulator.rpartition(":")[2])
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "models").symlink_to(ROOT / "models")
    for actor in stage.actors:
        (logs / f"{actor.name}.log").unlink(missing_ok=True)
        (logs / f"{actor.name}.log").symlink_to(actor.log)
    return tmp_path


@pytest.mark.parametrize("page", COMMANDED, ids=pages.name)
def test_the_commands_of_a_page_work(page: Path, stage: Stage, checkout: Path) -> None:
    for block in pages.blocks(page, "python"):
        if block.file is not None:
            (checkout / block.file).write_text(_here(block.text, stage))
    commands = (
        f"# {pages.name(page)}:{each.line}\n{each.text}" for each in pages.blocks(page, "sh")
    )
    ran = subprocess.run(
        (shutil.which("bash") or "/bin/bash", "-euxo", "pipefail", "-c",
         PRELUDE + _here("\n".join(commands), stage)),
        cwd=checkout,
        env=_environment(stage),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


def _here(text: str, stage: Stage) -> str:
    """Put what is true here in place of what is true beside `make up`."""
    text = text.replace("http://127.0.0.1:8000", _api(stage))
    # In a URL a plus, which the zones of the afternoon have, is a blank.
    return text.replace("tz=Europe/Berlin", f"tz={quote(NOON)}").replace("Europe/Berlin", NOON)


def _api(stage: Stage) -> str:
    return str(stage.client.base_url).rstrip("/")


def _environment(stage: Stage) -> dict[str, str]:
    """Return a reader's environment, whose `python3` is the machine's, and what an operator has set."""
    ours = str(Path(sys.executable).parent)
    path = [each for each in stage.environment["PATH"].split(os.pathsep) if each != ours]
    return {
        **stage.environment,
        "PATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DARKROOM_PORT": _api(stage).rpartition(":")[2],
        "DARKROOM_PUBLIC_URL": _api(stage),
        "AIMLAPI_BASE_URL": stage.simulator,
        "NO_PROXY": "127.0.0.1",
    }
