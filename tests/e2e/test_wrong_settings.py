"""A setting that is wrong for this database ends each role with status 2 and one line that says which."""

import secrets
import socket
import string
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.e2e import stage as stages
from tests.e2e.stage import START, Stage

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

ROLES = ("api", "dispatcher", "worker")


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis_server: str
) -> Iterator[Stage]:
    with stages.opened(tmp_path_factory.mktemp("wrong"), postgres_server, redis_server) as opened:
        yield opened


@pytest.fixture
def reader(stage: Stage) -> Iterator[str]:
    """A user who may read everything and write nothing; returns the database's URL for it."""
    name = "reader_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(8))
    url = stage.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE USER {} PASSWORD 'word'").format(sql.Identifier(name)))
        admin.execute(
            sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(
                sql.Identifier(name)
            )
        )
        place = url.rpartition("@")[2]
        yield f"postgresql://{name}:word@{place}"
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP USER {}").format(sql.Identifier(name)))


def ended(stage: Stage, role: str, environment: dict[str, str]) -> str:
    """Start a role that must end with status 2; return the one line it says beside its log."""
    actor = stage.begin(role, environment)
    assert actor.process.wait(START) == 2, actor.log.read_text()
    lines = actor.news()
    (line,) = [each for each in lines if not each.startswith("{")]
    assert not [each for each in lines if "was destroyed" in each or "Unclosed" in each]
    return line.removeprefix(f"darkroom {role}: ")


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_that_did_not_seal_this_database(stage: Stage, role: str) -> None:
    said = ended(stage, role, {"DARKROOM_SECRET": "another-secret-of-at-least-32-letters"})
    assert said.startswith(
        "DARKROOM_SECRET is not the one that sealed this database's webhook secrets"
    )
    assert "1 of 1 do not open" in said


def test_a_secret_that_is_being_replaced(stage: Stage) -> None:
    former = stage.environment["DARKROOM_SECRET"]
    new = {
        "DARKROOM_SECRET": "another-secret-of-at-least-32-letters",
        "DARKROOM_SECRET_OLD": former,
    }
    (actor,) = stage.start("dispatcher", environment=new)
    actor.kill()


@pytest.mark.parametrize("role", ROLES)
def test_a_user_without_grants(stage: Stage, role: str, reader: str) -> None:
    said = ended(stage, role, {"DATABASE_URL": reader})
    assert said.startswith("The user reader_")
    assert "api_keys: INSERT, UPDATE, DELETE; attempts: INSERT" in said
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader_" in said


@pytest.mark.parametrize("role", ROLES)
def test_a_store_that_is_none(stage: Stage, role: str) -> None:
    said = ended(stage, role, {"DARKROOM_STORAGE_URL": "ftp://bucket"})
    assert said.startswith("DARKROOM_STORAGE_URL 'ftp://bucket': ")


@pytest.mark.parametrize("role", ROLES)
def test_a_port_that_is_taken_or_an_address_that_is_not_ours(stage: Stage, role: str) -> None:
    prefix = "DARKROOM" if role == "api" else "DARKROOM_METRICS"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = ended(stage, role, {f"{prefix}_PORT": port})
    assert said.startswith(f"port {port} on 127.0.0.1 cannot be used (")
    assert "ddress already in use" in said
    assert said.endswith(f"; stop what uses it, or set {prefix}_HOST and {prefix}_PORT")
    said = ended(stage, role, {f"{prefix}_HOST": "192.0.2.1"})  # RFC 5737: of documentation
    assert " on 192.0.2.1 cannot be used (" in said
