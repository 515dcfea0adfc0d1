"""Rotating the passwords of Postgres and Redis as the runbook says: nothing stops."""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from alembic import command
from alembic.config import Config
from psycopg import sql

from models.jobs.attempts import Ref
from models.platform.db import Database, open_engine, premises
from models.platform.vault import Vault
from models.settings import Settings
from tests.fixtures.making import Bench
from tests.fixtures.pages import ROOT


async def test_a_second_role_of_the_same_grants_takes_the_firsts_place(
    bench: Bench, settings: Settings, vault: Vault, database_url: str
) -> None:
    owner, first, second = (f"{each}_{secrets.token_hex(4)}" for each in ("own", "a", "b"))
    made = (
        "CREATE ROLE {owner} NOLOGIN",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {owner}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {owner}",
        "CREATE ROLE {first} LOGIN PASSWORD 'old' IN ROLE {owner}",
        "CREATE ROLE {second} LOGIN PASSWORD 'new' IN ROLE {owner}",
        "ALTER ROLE {first} NOLOGIN",
    )
    ended = (
        "DROP OWNED BY {owner}",
        "DROP ROLE {first}",
        "DROP ROLE {second}",
        "DROP ROLE {owner}",
    )
    names = {"owner": owner, "first": first, "second": second}
    at = urlsplit(database_url)
    url = at._replace(netloc=f"{second}:new@{at.hostname}:{at.port}").geturl()
    with psycopg.connect(database_url, autocommit=True) as admin:
        for statement in made:
            admin.execute(_named(statement, names))
        moved = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
        database = Database(moved, ring=lambda _topic, _key: None, pool=2)
        try:
            async with database.transaction() as tx:
                await premises.demand(tx, vault)
            other = Bench(database, bench.presenter, bench.caller)
            await other.succeed(await _received(other))
        finally:
            await database.close()
            for statement in ended:
                admin.execute(_named(statement, names))
    assert await bench.audit() == []


_BEFORE = "0016"  # a revision before tables came that are granted to nobody
_MOVED = "-- start every role with "  # the rest of a recipe comes when that is done
_SEEN_OF_OTHERS = """
    SELECT count(xact_start) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_the_runbook_rotates_the_password_also_after_an_upgrade(
    postgres_server: str, settings: Settings, vault: Vault
) -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    once, each = (
        block for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) if _MOVED in block
    )
    with _installation(postgres_server) as (admin, owner, url):

        def run(recipe: str) -> None:
            """Run a part of the runbook, its `darkroom` being this installation."""
            said = (
                re.sub(r"(--|DATABASE_URL=)[^\n]*", "", recipe)
                .replace("darkroom", owner)
                .replace("…", "secret")
            )
            for statement in filter(None, map(str.strip, said.split(";"))):
                admin.execute(statement.encode())

        _upgrade(url(owner), _BEFORE)
        prepare, seal = once.split(_MOVED)
        run(prepare)
        with psycopg.connect(url(owner)) as old, psycopg.connect(url(f"{owner}_a")) as new:
            for one, other in ((old, new), (new, old)):
                one.execute("SELECT FROM duties")
                assert other.execute(_SEEN_OF_OTHERS).fetchone() == (1,)
                other.rollback()
                one.rollback()
        run(seal)
        _upgrade(url(f"{owner}_a"), "head")
        prepare, drop = each.split(_MOVED)
        run(prepare)
        await _demand(settings, vault, url(f"{owner}_a"))
        await _demand(settings, vault, url(f"{owner}_b"))
        run(drop)
        await _demand(settings, vault, url(f"{owner}_b"))
        # Who is a member may change what is the owner's, in the next upgrade.
        _upgrade(url(f"{owner}_b"), "-1")
        _upgrade(url(f"{owner}_b"), "head")


@contextmanager
def _installation(server: str) -> Iterator[tuple[psycopg.Connection, str, Callable[[str], str]]]:
    """Make a database whose owner logs in; yields a superuser in it, their name, and URLs by user."""
    owner = f"own{secrets.token_hex(4)}"
    name, at = sql.Identifier(owner), urlsplit(server)

    def url(user: str) -> str:
        return at._replace(netloc=f"{user}:secret@{at.hostname}:{at.port}", path=owner).geturl()

    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(name))
        admin.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(name))
        with psycopg.connect(at._replace(path=owner).geturl(), autocommit=True) as inside:
            yield inside, owner, url
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        for each in (f"{owner}_b", owner):
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(each)))


def _upgrade(url: str, revision: str) -> None:
    """Bring the schema to a revision, as the user of a URL."""
    config, engine = Config(toml_file=ROOT / "pyproject.toml"), open_engine(url)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if revision == "-1" else command.upgrade)(config, revision)
    finally:
        engine.dispose()


async def _demand(settings: Settings, vault: Vault, url: str) -> None:
    """Hold the database against what a role wants of it at its start."""
    moved = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
    database = Database(moved, ring=lambda _topic, _key: None, pool=1)
    try:
        async with database.transaction() as tx:
            await premises.demand(tx, vault)
    finally:
        await database.close()


async def _received(bench: Bench) -> Ref:
    ref = await bench.running()
    received = await bench.receive(ref)
    assert received is not None
    return received[1]


def _named(statement: str, names: dict[str, str]) -> sql.Composed:
    return sql.SQL(statement).format(**{name: sql.Identifier(each) for name, each in names.items()})


def test_redis_takes_the_old_and_the_new_password_while_roles_are_restarted(
    redis_server: str,
) -> None:
    user, old, new = f"role_{secrets.token_hex(4)}", "old-password", "new-password"
    with redis.Redis.from_url(redis_server) as admin:
        admin.execute_command("ACL", "SETUSER", user, "on", f">{old}", "~*", "&*", "+@all")
        try:
            at = urlsplit(redis_server)
            assert _pings(at.hostname, at.port, user, old)
            admin.execute_command("ACL", "SETUSER", user, f">{new}")
            assert all(_pings(at.hostname, at.port, user, each) for each in (old, new))
            admin.execute_command("ACL", "SETUSER", user, f"<{old}")
            assert _pings(at.hostname, at.port, user, new)
            with pytest.raises(redis.AuthenticationError):
                _pings(at.hostname, at.port, user, old)
        finally:
            admin.execute_command("ACL", "DELUSER", user)


def _pings(host: str | None, port: int | None, user: str, password: str) -> bool:
    with redis.Redis(host=host or "", port=port or 0, username=user, password=password) as client:
        return bool(client.ping())
