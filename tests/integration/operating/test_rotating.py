"""Rotating the passwords of Postgres and Redis as the runbook says: nothing stops."""

import secrets
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from models.jobs.attempts import Ref
from models.platform.db import Database, premises
from models.platform.vault import Vault
from models.settings import Settings
from tests.fixtures.making import Bench


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
