"""Migrations go up, down and up again, and say the same as the tables in the code."""

import asyncio
import io
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine, text

from models import migrate
from models.db import Database, driver_url
from models.errors import Misconfigured
from models.settings import Settings
from tests.conftest import make_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(postgres_server: str) -> Iterator[str]:
    """Make a database without any table; gives its URL."""
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


def test_they_go_up_and_down_and_up_and_agree_with_the_tables(empty: str) -> None:
    engine = create_engine(driver_url(empty))
    try:
        for _ in range(2):
            with engine.begin() as connection:
                command.upgrade(config(connection), "head")
            with engine.begin() as connection:
                assert "jobs" in tables(connection)
                command.check(config(connection))
                command.downgrade(config(connection), "base")
            with engine.begin() as connection:
                assert tables(connection) == set()
    finally:
        engine.dispose()


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml"))
    assert migrate.head() == scripts.get_current_head()


def test_each_goes_down_and_up_by_itself(empty: str) -> None:
    engine = create_engine(driver_url(empty))
    try:
        with engine.begin() as connection:
            command.upgrade(config(connection), "head")
        for step in range(1, int(migrate.head()) + 1):
            with engine.begin() as connection:
                command.downgrade(config(connection), f"-{step}")
                command.upgrade(config(connection), "head")
                command.check(config(connection))
    finally:
        engine.dispose()


def test_migrating_names_the_newest_revision_and_may_be_repeated(empty: str) -> None:
    settings = make_settings(database_url=empty)
    newest = max((ROOT / "models/migrations/versions").glob("[0-9]*.py"))
    for _ in range(2):
        assert migrate.migrate(settings) == migrate.head() == newest.name.partition("_")[0]


async def test_two_that_migrate_at_once_take_turns(empty: str) -> None:
    settings = make_settings(database_url=empty)
    done = await asyncio.gather(*(asyncio.to_thread(migrate.migrate, settings) for _ in range(3)))
    assert set(done) == {migrate.head()}


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
    settings = make_settings(database_url="postgresql://darkroom@127.0.0.1:1/darkroom")
    with pytest.raises(Misconfigured) as refused:
        migrate.migrate(settings)
    assert "\n" not in str(refused.value)
    assert "DATABASE_URL" in str(refused.value)
