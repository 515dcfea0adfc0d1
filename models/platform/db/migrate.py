"""Brings the schema to the code's revision, and tells whether it is there."""

import re
import threading
import time
from datetime import timedelta
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from models.errors import Misconfigured, SchemaBehind
from models.platform.db.connecting import open_engine
from models.platform.db.transaction import Transaction

_HERE = Path(__file__).parents[2] / "migrations"
# Two deployments that migrate at once must take turns; any fixed number will do.
_LOCK = 7_266_510_183
# While a migration waits for a table, everybody waits behind it: so it gives up soon, and comes again.
# A backup or a report may hold its tables for long.
_WAIT = "2s"
_AGAIN, _PATIENCE = timedelta(seconds=1), timedelta(minutes=10)
# lock_not_available, and deadlock_detected: somebody holds what is wanted, and wants what is held.
_HELD = {"55P03", "40P01"}
_NUMBER = re.compile(r"\d{4,}")  # of our revisions; Alembic's own are letters and digits
_OWN = "let the user of DATABASE_URL own the database (ALTER DATABASE … OWNER TO …)"
# What no other try mends, by SQLSTATE.
_TOLD = {
    "25006": "name the primary in DATABASE_URL, or let the database be written to",
    "3F000": _OWN,
    "42501": _OWN,
    "42P07": "DATABASE_URL leads to a database that has tables of these names already, and no revision of "
    "ours: give Darkroom a database of its own",
}


def migrate(url: str, *, patience: timedelta = _PATIENCE) -> str:
    """Upgrade to this code's revision, one process at a time; return the revision the database is at then.

    A database that newer code has migrated stays as it is: older code runs on it, so that a release can
    be rolled back. Raises `Misconfigured` when Postgres does not answer, or when somebody has held a table
    for all of `patience`.
    """
    until = time.monotonic() + patience.total_seconds()
    while True:
        try:
            return _migrate(url)
        except DBAPIError as refused:
            said, state = str(refused.orig).strip().splitlines()[0], _state(refused)
            if state in _TOLD:
                raise Misconfigured(f"{said}: {_TOLD[state]}") from None
            if state not in _HELD and not isinstance(refused, OperationalError):
                raise
            if state not in _HELD:
                raise Misconfigured(
                    f"Postgres does not answer: {said}. Start it, or set DATABASE_URL."
                ) from None
            if time.monotonic() > until:
                raise Misconfigured(
                    f"Another transaction holds a table that is to be changed ({said}): wait for the "
                    "backup or report to end, or end it (pg_stat_activity), and run this again."
                ) from None
        threading.Event().wait(_AGAIN.total_seconds())


def _migrate(url: str) -> str:
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            demand_encoding(connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            at = _revision(connection)
            if at is not None and at >= head():
                return at
            connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT}'"))
            _upgrade(connection)
    finally:
        engine.dispose()
    return head()


def _upgrade(connection: Connection) -> None:
    # Here, because a tenth of every role's start would go into loading it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@cache
def head() -> str:
    """Return the newest revision that this code knows: migrations are numbered by their files' names."""
    return max(file.name.partition("_")[0] for file in (_HERE / "versions").glob("[0-9]*_*.py"))


async def current(tx: Transaction) -> str | None:
    """Return the revision that the database is at; None before the first migration."""
    return await tx.run_sync(_revision)


async def demand_schema(tx: Transaction) -> None:
    """Raise `SchemaBehind` unless the database is at least at the code's revision.

    Raises another `Misconfigured` where it is another program's.
    """
    at, wanted = await current(tx), head()
    if at is None or at < wanted:
        raise SchemaBehind(
            f"The database is at revision {at or 'none'}, this code needs {wanted}: "
            "run `python -m models migrate` first."
        )


def demand_encoding(on: Connection | Session) -> None:
    """Raise `Misconfigured` unless the database takes whatever people write."""
    if not on.scalar(text("SELECT current_setting('server_encoding') = 'UTF8'")):
        raise Misconfigured(
            "The database of DATABASE_URL is not in UTF-8, and cannot keep every prompt: create it with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )


def _revision(on: Connection | Session) -> str | None:
    if on.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = on.scalar(text("SELECT version_num FROM alembic_version"))
    if revision is not None and not _NUMBER.fullmatch(revision):
        raise Misconfigured(
            f"The database of DATABASE_URL is another program's: its alembic_version says {revision!r}, "
            "which is no revision of Darkroom's. Give Darkroom a database of its own."
        )
    return revision


def _state(refused: DBAPIError) -> str | None:
    return refused.orig.sqlstate if isinstance(refused.orig, psycopg.Error) else None
