"""An error of Postgres is an absence, a busy moment, or the statement's own fault: by its SQLSTATE."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models.errors import Unavailable
from models.platform.db import Database
from models.platform.db.absences import Busy
from tests.conftest import make_settings
from tests.fixtures.databases import Databases

Run = Callable[[str], Awaitable[None]]

AWAY = [
    *("08000", "08001", "08003", "08006", "08P01", "25006", "25P03"),
    *("53000", "53100", "53200", "53300", "57P01", "57P02", "57P03", "57P05", "58000", "58030"),
]
BUSY = ["40001", "40003", "40P01", "55P03", "57014"]
# psycopg calls all of these but the first five an OperationalError, as it does a lost connection.
OWN = [
    *("22001", "23505", "42P01", "P0001", "XX000"),
    *("2F003", "38000", "40002", "53400", "54000", "54001", "54011", "54023", "55000", "55006"),
]
FAULTS = {
    "a division by zero": "SELECT 1 / 0",
    "a column that is not there": "SELECT nowhere",
    "too many columns": f"SELECT {', '.join(['1'] * 1_700)}",
    "a sequence that was not asked": "SELECT currval('ledger_id_seq')",
}


@pytest.fixture(params=["transaction", "direct"])
def run(request: pytest.FixtureRequest, database: Database) -> Run:
    """Runs a statement, by each of the two ways to Postgres."""

    async def in_transaction(statement: str) -> None:
        async with database.transaction() as tx:
            await tx.execute(text(statement))

    async def directly(statement: str) -> None:
        await database.direct.write(statement.encode(), {})

    return in_transaction if request.param == "transaction" else directly


async def meaning(run: Run, statement: str) -> type[Unavailable] | None:
    """Tell which absence a statement that fails is read as; None for a fault of its own."""
    try:
        await run(statement)
    except Unavailable as refused:
        return Busy if isinstance(refused, Busy) else Unavailable
    except (DBAPIError, psycopg.Error):
        return None
    raise AssertionError(statement)


def failing(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$"


async def test_the_state_decides_what_an_error_means(run: Run) -> None:
    assert {state: await meaning(run, failing(state)) for state in (*AWAY, *BUSY, *OWN)} == (
        dict.fromkeys(AWAY, Unavailable) | dict.fromkeys(BUSY, Busy) | dict.fromkeys(OWN, None)
    )
    await run("SELECT 1")


async def test_so_it_is_with_faults_that_postgres_finds_itself(run: Run) -> None:
    assert {fault: await meaning(run, FAULTS[fault]) for fault in FAULTS} == dict.fromkeys(FAULTS)
    await run("SELECT 1")


async def test_a_statement_with_too_many_parameters_is_at_fault_itself(database: Database) -> None:
    asked = f"SELECT ARRAY[{'%s, ' * 65_535}%s]"
    async with database.transaction() as tx:
        connection = await tx.connection()
        with pytest.raises(DBAPIError):
            await connection.exec_driver_sql(asked, (1,) * 65_536)
    values = {f"p{n}": n for n in range(65_536)}
    every = ", ".join(f"%({name})s" for name in values)
    with pytest.raises(psycopg.OperationalError):
        await database.direct.read(f"SELECT ARRAY[{every}]".encode(), values)


async def test_what_a_commit_finds_is_no_absence(database: Database) -> None:
    async def doubled() -> None:
        async with database.transaction() as tx:
            unique = "CREATE TEMP TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
            for statement in (unique, *["INSERT INTO once VALUES (1)"] * 2):
                await tx.execute(text(statement))

    with pytest.raises(DBAPIError):
        await doubled()


@pytest.mark.parametrize("wrong", ["password", "database", "host", "port"])
async def test_who_cannot_connect_is_told_at_once(postgres_server: str, wrong: str) -> None:
    info = psycopg.conninfo.conninfo_to_dict(postgres_server)
    named = {"password": "password", "database": "dbname", "host": "host", "port": "port"}
    given = {**info, named[wrong]: "1" if wrong == "port" else "no.invalid"}
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**given)
    opened = Database(make_settings(database_url=url), ring=lambda _topic, _key: None, pool=1)
    async with asyncio.timeout(10):  # seconds, of the 35 that a slow one is waited for
        with pytest.raises(Unavailable):
            async with opened.transaction() as tx:
                await tx.execute(text("SELECT 1"))
        # All who wait are told, and whoever comes later is told anew.
        for _ in range(2):
            asked = (opened.direct.read(b"SELECT 1", {}) for _ in range(5))
            told = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in told] == [Unavailable] * 5
    await opened.close()


async def test_who_waits_for_a_connection_that_is_lent_is_told_nothing(
    databases: Databases,
) -> None:
    with databases.own() as url, psycopg.connect(databases.server, autocommit=True) as admin:
        alter = f"ALTER DATABASE {url.rpartition('/')[2]} ALLOW_CONNECTIONS"
        opened = Database(make_settings(database_url=url), ring=lambda _topic, _key: None, pool=2)
        async with opened.direct.transaction():
            admin.execute(f"{alter} false".encode())
            waiting = asyncio.create_task(opened.direct.read(b"SELECT 1 AS one", {}))
            done, _ = await asyncio.wait({waiting}, timeout=0.5)
            assert not done, "no other connection can be made, but this one comes back"
        assert await waiting == [{"one": 1}]
        admin.execute(f"{alter} true".encode())
        await opened.close()


async def test_sessions_that_must_not_write_are_left_when_others_may(databases: Databases) -> None:
    write = "INSERT INTO duties (name) VALUES ('test') ON CONFLICT (name) DO NOTHING"
    with databases.own() as url, psycopg.connect(databases.server, autocommit=True) as admin:
        alter = f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only"
        admin.execute(f"{alter} = on".encode())
        opened = Database(make_settings(database_url=url), ring=lambda _topic, _key: None, pool=2)

        async def by_transaction() -> None:
            async with opened.transaction() as tx:
                await tx.execute(text(write))

        async def directly() -> None:
            await opened.direct.write(write.encode(), {})

        for way in (by_transaction, directly):
            with pytest.raises(Unavailable):
                await way()
        admin.execute(f"{alter} = off".encode())
        for way in (by_transaction, directly):
            await way()
        await opened.close()


@pytest.mark.parametrize(
    ("prepare", "once", "driver"),
    [
        (True, True, ("force_generic_plan", "off")),
        (False, True, ("auto", "on")),
        (True, False, ("auto", "on")),
    ],
)
async def test_only_what_the_driver_prepares_is_planned_once(
    postgres_server: str, *, prepare: bool, once: bool, driver: tuple[str, str]
) -> None:
    settings = make_settings(database_url=postgres_server, database_prepare=prepare)
    opened = Database(settings, ring=lambda _topic, _key: None, plan_once=once)
    shown = b"SELECT current_setting('plan_cache_mode') AS mode, current_setting('enable_seqscan') AS scan"
    (row,) = await opened.direct.read(shown, {})
    async with opened.transaction() as tx:
        told = (await tx.execute(text(shown.decode()))).one()
    assert (row["mode"], row["scan"]) == driver
    assert tuple(told) == ("auto", "on")
    await opened.close()


async def test_a_role_is_known_by_its_name_and_compiles_nothing(postgres_server: str) -> None:
    for url, name in ((postgres_server, "darkroom-api"),
                      (f"{postgres_server}?application_name=theirs", "theirs")):  # fmt: skip
        opened = Database(
            make_settings(database_url=url), ring=lambda _t, _k: None, name="darkroom-api"
        )
        shown = b"SELECT current_setting('jit') AS jit, current_setting('application_name') AS name"
        (row,) = await opened.direct.read(shown, {})
        async with opened.transaction() as tx:
            told = (await tx.execute(text(shown.decode()))).one()
        assert (row["jit"], row["name"]) == tuple(told) == ("off", name)
        await opened.close()
