"""What a role or a command says of words that it does not take, before it does anything."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from api.contract.requests.operators import ProjectName, Reason
from models.__main__ import main
from models.commands.command import NAME, REASON
from tests.fixtures.pages import ROOT

ROLES = ("api", "worker", "worker.dispatcher")


def ran(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a module without any setting."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        env={}, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_a_role_tells_its_usage_and_does_not_start(role: str) -> None:
    told = ran(role, "--help")
    assert told.returncode == 0
    assert told.stdout.startswith(f"usage: python -m {role} ")
    assert "docs/settings.md" in told.stdout


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("word", ["--port=9000", "restore"])
def test_a_role_refuses_arguments_and_does_not_start(role: str, word: str) -> None:
    told = ran(role, word)
    assert told.returncode == 2
    assert (
        told.stderr.splitlines()[-1] == f"python -m {role}: error: unrecognized arguments: {word}"
    )


@pytest.mark.parametrize("word", ["yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", ""])
def test_a_moment_that_is_none_is_named(word: str) -> None:
    told = ran("worker.restore", f"--since={word}")
    assert told.returncode == 2
    assert f"{word!r} is no time, such as 2026-11-22T10:00:00Z" in told.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("create-project",),
        ("rename-project", "shop"),
        ("create-key", "shop", "--scope", "admin", "--label"),
        ("create-operator-key", "--label"),
        ("suspend", "shop", "--reason"),
    ],
)
@pytest.mark.parametrize(
    ("word", "why"), [("", "these are 0"), ("n" * 501, "these are 501"), ("\udcff", "UTF-8")]
)
def test_what_people_read_is_bounded_as_over_the_api(
    command: tuple[str, ...], word: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main([*command, word])
    assert refused.value.code == 2
    assert why in capsys.readouterr().err


def test_the_bounds_are_those_of_the_api() -> None:
    for taken, longest in ((ProjectName, NAME), (Reason, REASON)):
        TypeAdapter(taken).validate_python("n" * longest)
        with pytest.raises(ValidationError):
            TypeAdapter(taken).validate_python("n" * (longest + 1))
