"""What commands print when Postgres does not take them: why, as a role would log it."""

import socket
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from models.__main__ import main
from models.errors import Unavailable
from models.platform.db import absences, premises
from tests.conftest import SECRET


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DARKROOM_SECRET", SECRET)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that is refused; returns its one line."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("darkroom: ")
    assert "nothing was lost" not in line
    return line


def elsewhere(url: str, monkeypatch: pytest.MonkeyPatch, **parts: str) -> None:
    """Let DATABASE_URL lead to another server, or be somebody else's."""
    monkeypatch.setenv("DATABASE_URL", urlsplit(url)._replace(**parts).geturl())


def test_a_wrong_password_is_said(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = urlsplit(database_url)
    elsewhere(database_url, monkeypatch, netloc=f"{at.username}:wrong-one@{at.hostname}:{at.port}")
    said = refused(capsys, "projects")
    assert "DATABASE_URL leads to no Postgres that takes us" in said
    assert "password authentication failed" in said
    assert "wrong-one" not in said


def test_a_port_where_nobody_listens_is_said(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        elsewhere(database_url, monkeypatch, netloc=f"u:p@127.0.0.1:{port}")
        said = refused(capsys, "projects")
    assert "Connection refused" in said
    assert str(port) in said


def test_a_database_that_does_not_exist_is_said(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(database_url, monkeypatch, path="/nowhere")
    assert '"nowhere" does not exist' in refused(capsys, "projects")


def test_a_read_only_database_is_said(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = sql.Identifier(urlsplit(database_url).path.removeprefix("/"))
    change = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(change)
    said = refused(capsys, "create-project", "shop")
    assert "DATABASE_URL leads to a replica, or to a read-only database" in said
    assert "target_session_attrs=read-write" in said


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (psycopg.errors.LockNotAvailable(), "Postgres is busy"),
        (psycopg.OperationalError("the connection is closed"), "the connection is closed"),
        (TimeoutError(), "no answer in time"),
        (None, "Too many identical jobs"),
    ],
)
def test_only_what_is_an_absence_is_said_of_database_url(
    failed: Exception | None, said: str
) -> None:
    refusal = absences.absence(failed, lost=True) if failed else Unavailable(said)
    assert refusal is not None
    refusal.__cause__ = failed
    explained = premises.explain(refusal)
    assert said in explained
    assert ("DATABASE_URL" in explained) == (failed is not None and "busy" not in said)
