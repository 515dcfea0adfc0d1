"""What a role must find in its database before it works: session settings, grants, the schema, its secret.

A role waits for a Postgres that is away or read-only, and for a migration that is still to come. Anything
else does not mend itself: the role ends, and says why.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.errors import DarkroomError, Misconfigured, SchemaBehind, Unavailable
from models.platform.db import migrate
from models.platform.db.absences import Busy, is_refusal
from models.platform.db.base import Base
from models.platform.db.connecting import SESSION
from models.platform.db.database import Database
from models.platform.db.transaction import Transaction
from models.platform.vault import Vault

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Between two looks at a database that is not there yet: soon at first, then six lines a minute.
_WAIT_FIRST, _WAIT_LONGEST = timedelta(seconds=0.5), timedelta(seconds=10)
_DOUBLINGS = 10  # beyond the longest wait
# What is read back as it was told, and is not the same on every server.
_TELLING = {"default_transaction_isolation", "intervalstyle", "jit", "timezone"}
_NAMED = 5  # tables that one line names
_READ_ONLY = "25006"  # read_only_sql_transaction
_NAME_ALL = "name the primary, or every server with target_session_attrs=read-write"


async def wait(
    database: Database, vault: Vault, tell: Callable[[str], object] = lambda _why: None
) -> None:
    """Wait until Postgres answers and has the schema; each try logs what is waited for, and why.

    `tell` is told why as well. Raises `Misconfigured` for what waiting does not mend, as `demand` does.
    """
    for tries in count():
        try:
            async with database.transaction() as tx:
                await demand(tx, vault)
        except Unavailable as away:
            waits, why = "waiting.postgres", reason(away)
        except SchemaBehind as behind:
            waits, why = "waiting.schema", str(behind)
        else:
            return
        seconds = min(_WAIT_FIRST * 2 ** min(tries, _DOUBLINGS), _WAIT_LONGEST).total_seconds()
        tell(why)
        log.warning(waits, reason=why, tries=tries + 1, again_in=seconds)
        await asyncio.sleep(seconds)


async def demand(tx: Transaction, vault: Vault) -> None:
    """Raise `SchemaBehind`, or another `Misconfigured` for what a migration will not mend."""
    await tx.run_sync(migrate.demand_encoding)
    await _demand_session(tx)
    await _demand_grants(tx)
    await migrate.demand_schema(tx)
    await demand_secret(tx, vault)
    await _demand_primary(tx)


def explain(refused: DarkroomError) -> str:
    """Return what a command prints of a refusal: of an absence of Postgres, why it is one."""
    cause = refused.__cause__
    absent = isinstance(refused, Unavailable) and not isinstance(refused, Busy)
    of_postgres = isinstance(cause, DBAPIError | PoolTimeout | TimeoutError) or is_refusal(cause)
    return reason(refused) if absent and of_postgres else str(refused)


def reason(away: DarkroomError) -> str:
    """Return, in words for people, why Postgres refuses us.

    What the driver says names the server and the user, and never the password.
    """
    cause = away.__cause__
    driver = cause if is_refusal(cause) else getattr(cause, "orig", None)
    if getattr(driver, "sqlstate", None) == _READ_ONLY:
        return (
            f"DATABASE_URL leads to a replica, or to a read-only database ({driver}); {_NAME_ALL}"
        )
    said = "" if driver is None else " ".join(str(driver).split())
    return f"DATABASE_URL leads to no Postgres that takes us: {said or 'no answer in time'}"


async def _demand_session(tx: Transaction) -> None:
    """Raise `Misconfigured` where something on the way has dropped what each session is told."""
    rows = await tx.execute(_TOLD, {"names": list(SESSION)})
    other = {row.name for row in rows if row.value != SESSION[row.name]} & _TELLING
    if not other:
        return
    user = await tx.scalar(text("SELECT quote_ident(current_user)"))
    commands = "; ".join(f"ALTER ROLE {user} SET {name} = '{SESSION[name]}'" for name in SESSION)
    raise Misconfigured(
        "DATABASE_URL leads through something that drops the options of a session "
        f"({', '.join(sorted(other))}), as pgbouncer does with ignore_startup_parameters = options: "
        f"{commands}"
    )


async def _demand_grants(tx: Transaction) -> None:
    """Raise `Misconfigured` unless our user may read and write every table that is there."""
    tables = [*Base.metadata.tables, "alembic_version"]
    lacking = (await tx.execute(_LACKING, {"tables": tables})).all()
    if not lacking:
        return
    named = "; ".join(f"{row.table}: {row.privileges}" for row in lacking[:_NAMED])
    more = f" (and {len(lacking) - _NAMED} tables more)" if len(lacking) > _NAMED else ""
    raise Misconfigured(
        f"The user {lacking[0].user} of DATABASE_URL lacks grants on {named}{more}: "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {lacking[0].schema} "
        f"TO {lacking[0].user}"
    )


async def demand_secret(tx: Transaction, vault: Vault) -> None:
    """Raise `Misconfigured` unless what is sealed here was, and will be, sealed under a key of this vault.

    Who comes first leaves its key's name, so that two secrets are told apart before anything is sealed;
    of two keys the former one, until everything is resealed.
    """
    found = (await tx.execute(_SEALED, {"known": list(vault.names)})).one()
    if found.foreign:
        raise Misconfigured(
            "DARKROOM_SECRET is not the one that sealed this database's webhook secrets "
            f"({found.foreign} of {found.sealed} do not open): set the right one, or the former one as "
            "DARKROOM_SECRET_OLD"
        )
    await tx.execute(_NAME_KEY, {"key": vault.names[-1]})
    if await tx.scalar(_KEY) not in vault.names:
        raise Misconfigured(
            "DARKROOM_SECRET is not the one that the other roles of this database were started with: set "
            "the same one, or the former one as DARKROOM_SECRET_OLD until `python -m models reseal` is done"
        )


async def keep_key(tx: Transaction, vault: Vault) -> None:
    """Write down that everything is sealed under the present key: from now on every role must have it."""
    await tx.execute(_REPLACE_KEY, {"key": vault.names[0]})


async def _demand_primary(tx: Transaction) -> None:
    """Fail as in an absence unless the server takes writes: a replica answers all the rest."""
    await tx.execute(_WRITTEN)


# It locks no row, and yet only a server that takes writes does it.
_WRITTEN = text("SELECT FROM duties WHERE false FOR UPDATE")

_TOLD = text(
    "SELECT name, current_setting(name) AS value FROM unnest(CAST(:names AS text[])) AS name"
)

_LACKING = text("""
    SELECT quote_ident(current_user) AS user, quote_ident(current_schema()) AS schema,
           relname AS table, string_agg(privilege, ', ') AS privileges
      FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
     WHERE relnamespace = current_schema()::regnamespace AND relname = ANY (:tables)
       AND NOT has_table_privilege(pg_class.oid, privilege)
       AND (relname <> 'alembic_version' OR privilege = 'SELECT')
     GROUP BY relname ORDER BY relname
""")

# Bytes 2 to 5 of what is sealed name the key, see `models/platform/vault.py`.
_SEALED = text("""
    SELECT count(*) AS sealed, count(*) FILTER (WHERE substr(secret, 2, 4) <> ALL (:known)) AS foreign
      FROM (SELECT webhook_secret AS secret FROM projects
             UNION ALL SELECT secret FROM endpoints WHERE deleted_at IS NULL) AS secrets
""")

_NAME_KEY = text("INSERT INTO installation (vault_key) VALUES (:key) ON CONFLICT (id) DO NOTHING")
_KEY = text("SELECT vault_key FROM installation")
_REPLACE_KEY = text("""
    INSERT INTO installation (vault_key) VALUES (:key)
    ON CONFLICT (id) DO UPDATE SET vault_key = excluded.vault_key
""")
