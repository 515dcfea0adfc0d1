"""What a role or a command says of words that it does not take, before it does anything."""

import subprocess
import sys

import pytest

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
