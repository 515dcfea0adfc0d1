"""Brings the schema to the code's revision, and tells whether it is there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from models.db import Transaction, driver_url
from models.errors import Misconfigured
from models.settings import Settings

_HERE = Path(__file__).parent / "migrations"
# Two deployments that migrate at once must take turns; any fixed number will do.
_LOCK = 7_266_510_183


def migrate(settings: Settings) -> str:
    """Upgrade to the newest revision, one process at a time; gives its name."""
    engine = create_engine(driver_url(settings.database_url.get_secret_value()))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            command.upgrade(_config(connection), "head")
    except OperationalError as away:
        raise Misconfigured(
            f"Postgres does not answer: {str(away.orig).strip().splitlines()[0]}. "
            "Start it, or set DATABASE_URL."
        ) from None
    finally:
        engine.dispose()
    return head()


def head() -> str:
    """Give the newest revision that this code knows."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


async def current(tx: Transaction) -> str | None:
    """Give the revision that the database is at; None before the first migration."""
    connection = await tx.connection()
    return await connection.run_sync(
        lambda sync: MigrationContext.configure(sync).get_current_revision()
    )


async def demand_schema(tx: Transaction) -> None:
    """Raise `Misconfigured` unless the database is at least at the code's revision."""
    at, wanted = await current(tx), head()
    if at is None or at < wanted:
        raise Misconfigured(
            f"The database is at revision {at or 'none'}, this code needs {wanted}: "
            "run `python -m models migrate` first."
        )


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    return config
