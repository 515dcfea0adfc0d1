"""Migrations go up, down and up again, and say the same as the tables in the code."""

import asyncio
import io
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, text

from deploy.local.servers.server import wait_until
from models import __main__ as operator
from models.errors import Misconfigured
from models.platform.db import Database, migrate, open_engine
from models.settings import Settings
from tests.conftest import make_settings

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0  # seconds on a busy machine


@pytest.fixture
def empty(postgres_server: str) -> Iterator[str]:
    """Make a database without any table; returns its URL."""
    name = sql.Identifier(made := f"empty_{secrets.token_hex(6)}")
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield f"{postgres_server.rpartition('/')[0]}/{made}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def config(connection: Connection) -> Config:
    """Configure Alembic as `pyproject.toml` does, on a connection of the test's own."""
    made = Config(toml_file=ROOT / "pyproject.toml", stdout=io.StringIO())
    made.attributes["connection"] = connection
    return made


def tables(connection: Connection) -> set[str]:
    found = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    return set(found.scalars()) - {"alembic_version"}


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml"))
    assert migrate.head() == scripts.get_current_head()


def shape(connection: Connection) -> list[str]:
    """Return everything that a migration may make: columns, constraints, indexes, triggers, functions.

    Of each the words in order: a list of a CHECK may be written in another one.
    """
    found = connection.execute(text(_SHAPE)).scalars()
    return sorted(" ".join(sorted(re.split(r"[\s,\[\]]+", each))) for each in found)


_SHAPE = """
    SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
      FROM information_schema.columns WHERE table_schema = 'public'
     UNION ALL
    SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace
     UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
     UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
     UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


def test_they_go_up_and_each_down_up_and_down_and_all_up_to_the_same_schema(empty: str) -> None:
    engine = open_engine(empty)
    try:
        with engine.begin() as connection:
            command.upgrade(config(connection), "head")
            command.check(config(connection))
            newest = shape(connection)
        above = newest
        for _ in range(int(migrate.head())):
            with engine.begin() as connection:
                command.downgrade(config(connection), "-1")
                below = shape(connection)
                assert below != above
                command.upgrade(config(connection), "+1")
                assert shape(connection) == above
                command.downgrade(config(connection), "-1")
            above = below
        with engine.begin() as connection:
            assert tables(connection) == set()
            command.upgrade(config(connection), "head")
            assert shape(connection) == newest
    finally:
        engine.dispose()


def test_hours_that_were_folded_before_there_were_totals_are_in_them(empty: str) -> None:
    engine = open_engine(empty)
    try:
        with engine.begin() as connection:
            command.upgrade(config(connection), "0028")
            for statement in _FOLDED:
                connection.execute(text(statement))
        with engine.begin() as connection:
            command.upgrade(config(connection), "0029")
            kept = connection.execute(text(_TOTALS)).all()
            assert kept == [("a", 1, 20, 6), (None, 2, 20, 6)]
    finally:
        engine.dispose()


_FOLDED = (
    "INSERT INTO projects (id, name, webhook_secret) VALUES (gen_random_uuid(), 'a', '')",
    """INSERT INTO api_keys (id, project_id, name, public_id, secret_hash, scopes)
       SELECT gen_random_uuid(), id, 'a', 'a', '', '{}' FROM projects""",
    """INSERT INTO usage_hours (project_id, hour, key_id, model, customer, submitted, charged)
       SELECT project_id, timestamptz '2026-01-01Z' + n * interval '1 hour', id,
              CASE n WHEN 1 THEN 'a' END, 'c_' || customer, 5, customer
         FROM api_keys, generate_series(1, 2) n, generate_series(0, 3) customer""",
)
_TOTALS = """
    SELECT model, extract(hour FROM hour AT TIME ZONE 'UTC'), submitted, charged
      FROM usage_totals ORDER BY hour
"""


def test_indexes_that_were_made_before_are_taken_and_broken_ones_made_anew(empty: str) -> None:
    engine = open_engine(empty)
    with engine.begin() as connection:
        command.upgrade(config(connection), "0030")
    with psycopg.connect(empty, autocommit=True) as operator_:
        operator_.execute("CREATE INDEX CONCURRENTLY ix_ledger_by_time ON ledger (project_id, at)")
        operator_.execute("CREATE INDEX CONCURRENTLY ix_attempts_by_time ON attempts (sent_at)")
        operator_.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_attempts_by_time'::regclass"
        )
        before = operator_.execute(_MADE).fetchall()
        with engine.begin() as connection:
            command.upgrade(config(connection), "head")
            command.check(config(connection))
        after = operator_.execute(_MADE).fetchall()
    engine.dispose()
    assert [valid for _, valid in before] == [False, True]
    assert [valid for _, valid in after] == [True, True]
    assert before[1] == after[1], "the ledger's was made twice"
    assert before[0] != after[0]


_MADE = """
    SELECT indexrelid, indisvalid FROM pg_index
     WHERE indexrelid IN ('ix_attempts_by_time'::regclass, 'ix_ledger_by_time'::regclass)
     ORDER BY indexrelid::regclass::text
"""


def test_migrating_names_the_newest_revision_and_may_be_repeated(empty: str) -> None:
    newest = max((ROOT / "models/migrations/versions").glob("[0-9]*.py"))
    for _ in range(2):
        assert migrate.migrate(empty) == migrate.head() == newest.name.partition("_")[0]


def run_migrate(url: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a release does: with `DATABASE_URL`, and nothing else of ours."""
    return subprocess.run(
        (sys.executable, "-m", "models", "migrate"),
        env={"DATABASE_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_needs_the_database_alone_and_leaves_newer_schemas_as_they_are(
    empty: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_migrate(empty)
    assert (first.returncode, first.stdout) == (0, f"database at revision {migrate.head()}\n")
    with psycopg.connect(empty, autocommit=True) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    monkeypatch.setenv("DATABASE_URL", empty)
    assert operator.main(["migrate"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (
        f"database at revision 9999, newer than this code's {migrate.head()}: nothing to do\n"
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "DATABASE_URL: not the URL of a database"),
        ("mysql://me:hidden-word@127.0.0.1/x", "DATABASE_URL: not the URL of a database"),
        ("postgresql://me:hidden-word@127.0.0.1:port/x", "DATABASE_URL: not the URL of a database"),
        ("postgresql://me:hidden-word@127.0.0.1:1/x", "Postgres does not answer"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong_with_the_url(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert operator.main(["migrate"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"darkroom: {says}")
    assert said.err.count("\n") == 1
    assert "hidden-word" not in said.err


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (
            "CREATE TABLE alembic_version AS SELECT 'f3a9c1b2d4e5' AS version_num",
            "is another program's: its alembic_version says 'f3a9c1b2d4e5'",
        ),
        ("CREATE TABLE projects ()", "give Darkroom a database of its own"),
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "name the primary in"),
        (
            "CREATE USER {name} PASSWORD 'word'",
            "permission denied for schema public: let the user of DATABASE_URL own the database",
        ),
        (
            "REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE USER {name} PASSWORD 'word'",
            "no schema has been selected to create in: let the user of DATABASE_URL own the database",
        ),
    ],
)
def test_a_database_that_is_not_for_darkroom_is_told_of_in_one_line(
    empty: str, before: str, says: str
) -> None:
    place, _, name = empty.partition("@")[2].rpartition("/")
    with psycopg.connect(empty, autocommit=True) as admin:
        admin.execute(before.format(name=name).encode())
        url = f"postgresql://{name}:word@{place}/{name}" if "USER" in before else empty
        with pytest.raises(Misconfigured) as refused:
            migrate.migrate(url)
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(sql.SQL("DROP USER IF EXISTS {}").format(sql.Identifier(name)))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_database_that_cannot_keep_every_letter_is_refused(postgres_server: str) -> None:
    name = f"ascii_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(
            sql.SQL(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'SQL_ASCII' "
                "LOCALE_PROVIDER libc LOCALE 'C'"
            ).format(sql.Identifier(name))
        )
        with pytest.raises(Misconfigured, match="is not in UTF-8"):
            migrate.migrate(f"{postgres_server.rpartition('/')[0]}/{name}")
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_two_that_migrate_at_once_take_turns(empty: str) -> None:
    done = await asyncio.gather(*(asyncio.to_thread(migrate.migrate, empty) for _ in range(3)))
    assert set(done) == {migrate.head()}


@pytest.mark.long
async def test_a_migration_that_a_backup_holds_up_holds_up_nobody_else(empty: str) -> None:
    engine = open_engine(empty)
    with engine.begin() as connection:
        command.upgrade(config(connection), "0005")
    engine.dispose()
    with psycopg.connect(empty) as backup, psycopg.connect(empty) as other:
        backup.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        migrating = asyncio.create_task(asyncio.to_thread(migrate.migrate, empty))
        waits = "SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        with psycopg.connect(empty, autocommit=True) as look:
            await asyncio.to_thread(
                wait_until, lambda: bool(look.execute(waits).fetchall()), PATIENCE
            )
        # Postgres lets nobody past who waits: a write gets through because the migration gives up.
        other.execute("SET lock_timeout = '20s'")
        await asyncio.to_thread(other.execute, "LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        other.rollback()
        backup.rollback()
        assert await migrating == migrate.head()


async def test_a_migration_that_meets_a_deadlock_comes_again(empty: str) -> None:
    engine = open_engine(empty)
    with engine.begin() as connection:
        command.upgrade(config(connection), "0030")
    engine.dispose()
    with psycopg.connect(empty) as writer, psycopg.connect(empty, autocommit=True) as look:
        writer.execute("SET deadlock_timeout = '30s'")  # it is the migration that finds out
        writer.execute("LOCK TABLE attempts IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(asyncio.to_thread(migrate.migrate, empty))
        waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'attempts'::regclass"
        await asyncio.to_thread(wait_until, lambda: bool(look.execute(waits).fetchall()), PATIENCE)
        await asyncio.to_thread(writer.execute, "LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        writer.commit()
        assert await migrating == migrate.head()


@pytest.mark.long
def test_a_table_that_is_held_for_good_is_one_line(empty: str) -> None:
    engine = open_engine(empty)
    with engine.begin() as connection:
        command.upgrade(config(connection), "0005")
    engine.dispose()
    with psycopg.connect(empty) as backup:
        backup.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        with pytest.raises(Misconfigured, match="Another transaction holds a table") as refused:
            migrate.migrate(empty, patience=timedelta(0))
        assert "\n" not in str(refused.value)


async def test_code_refuses_a_database_that_is_behind(empty: str, settings: Settings) -> None:
    behind = Database(make_settings(database_url=empty), ring=lambda _topic, _key: None, pool=1)
    ready = Database(settings, ring=lambda _topic, _key: None, pool=1)
    try:
        with pytest.raises(Misconfigured, match="python -m models migrate"):
            async with behind.transaction() as tx:
                await migrate.demand_schema(tx)
        async with ready.transaction() as tx:
            await migrate.demand_schema(tx)
            assert await migrate.current(tx) == migrate.head()
    finally:
        await behind.close()
        await ready.close()


def test_a_postgres_that_is_away_is_one_line_and_no_traceback() -> None:
    with pytest.raises(Misconfigured) as refused:
        migrate.migrate("postgresql://darkroom@127.0.0.1:1/darkroom")
    assert "\n" not in str(refused.value)
    assert "DATABASE_URL" in str(refused.value)
