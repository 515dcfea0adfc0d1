"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import Settings, inherited
from tests.fixtures import pages
from tests.fixtures.pages import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
PARTS = ("api", "models", "worker", "deploy")
AT = re.compile(r"# ([\w/]+\.py)(?:, in (\w+))?\n")
FOLLOWED = """
import json
from api.openapi import describe
from deploy.simulator.scenarios.table import TABLE
from models import schema
from worker.tasks import app

assert "/v1/keys/count" in json.loads(describe())["paths"]
assert "remind" in app.tasks
assert "notes" in schema.Project.metadata.tables
assert "teapot" in TABLE
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code, with what the recipes add to it."""
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for block in pages.blocks(PAGE, "python"):
        at = AT.match(block.text)
        assert at is not None, f"{PAGE.name}:{block.line} names no file"
        file, code = tmp_path / at[1], block.text[at.end() :]
        text = file.read_text()
        opening = f"{at[2]} = (\n"
        assert not at[2] or opening in text
        file.write_text(
            text.replace(opening, f"{opening}{code.rstrip()},\n") if at[2] else f"{text}\n\n{code}"
        )
    return tmp_path


@pytest.mark.long
def test_what_the_recipes_add_is_there(copy: Path) -> None:
    _run(copy, [sys.executable, "-c", FOLLOWED])


@pytest.mark.long
def test_the_recipe_of_a_table_makes_its_migration(copy: Path, settings: Settings) -> None:
    told = "".join(block.text for block in pages.blocks(PAGE, "console"))
    command = re.search(r"\.venv/bin/(alembic revision .+)", told)
    assert command is not None
    _run(copy, [sys.executable, "-m", *shlex.split(command[1])], settings)
    (made,) = (copy / "models" / "migrations" / "versions").glob("*_notes.py")
    assert re.search(r"op\.create_table\(\s*['\"]notes['\"]", made.read_text())


def _run(folder: Path, command: list[str], settings: Settings | None = None) -> None:
    url = {} if settings is None else {"DATABASE_URL": settings.database_url.get_secret_value()}
    ran = subprocess.run(
        command, cwd=folder, env=inherited() | url, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
