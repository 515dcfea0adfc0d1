"""Postgres: the engine, the base of every table, and `transaction()`, which commits them together.

A single statement may go through `direct` instead; nothing else commits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import (
    BigInteger,
    DateTime,
    Engine,
    ExceptionContext,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    create_engine,
    event,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import QueuePool

from models.errors import Unavailable
from models.platform.absences import absence, leads_astray
from models.platform.direct import ADAPTERS, Direct, Statement, Values
from models.platform.metrics import CONNECTIONS, PoolState
from models.settings import Settings

# What each session is told, and what bounds a forgotten or frozen client. pgbouncer drops it, when told
# to ignore `options`: then it must stand on the user or the database; `premises` looks whether it does.
SESSION = {
    # What a server, database or user may have been told otherwise, and our statements count on.
    "datestyle": "ISO",
    "default_transaction_isolation": "read committed",
    "intervalstyle": "postgres",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "0",  # a pool's connections are idle: the first write after it would fail
    # Packaged servers compile what looks dear: 2 to 5 s for a release that runs for 5 ms.
    "jit": "off",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "timezone": "UTC",
}

# How soon a server that is gone is given up, unless DATABASE_URL says otherwise.
_CONNECT = {
    "connect_timeout": "5",  # seconds
    "tcp_user_timeout": "10000",  # milliseconds
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
}

# Whatever the database's own is: with SQL_ASCII psycopg would give bytes for text.
_ENCODING = "utf8"

_BLANK = r"\ "  # as libpq's `options` have it

# Who names the server to SQLAlchemy is psycopg: it alone knows libpq's URLs, with several hosts.
_DRIVER = "postgresql+psycopg://"

# A server that is frozen takes packets and ends no statement, so we look at our own clock too.
_PATIENCE = timedelta(seconds=35)  # past `statement_timeout`, whose error says more

type_map = {
    str: Text,
    int: BigInteger,
    bytes: LargeBinary,
    datetime: DateTime(timezone=True),
    UUID: Uuid,
    list[str]: ARRAY(Text),
    list[UUID]: ARRAY(Uuid),
    dict[str, object]: JSONB,
    dict[str, str]: JSONB,
}


class Base(DeclarativeBase):
    """Every table; constraints are named by convention, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = type_map


class Transaction(AsyncSession):
    """One open transaction; what it must announce is rung after it has committed, never before."""

    @property
    def rings(self) -> set[tuple[str, str]]:
        """The doorbells to ring after the commit: pairs of topic and key."""
        rings: set[tuple[str, str]] = self.sync_session.info.setdefault("rings", set())
        return rings

    def ring(self, topic: str, key: str = "") -> None:
        """Ring this doorbell once the transaction has committed; a rollback rings nothing."""
        self.rings.add((topic, key))

    @property
    def tallies(self) -> list[Callable[[], object]]:
        """What is to be counted after the commit."""
        tallies: list[Callable[[], object]] = self.sync_session.info.setdefault("tallies", [])
        return tallies

    def tally(self, count: Callable[[], object]) -> None:
        """Count this once the transaction has committed; a rollback counts nothing. It must not raise."""
        self.tallies.append(count)

    async def run(self, statement: Statement, values: Values) -> list[dict[str, Any]]:
        """Run one of the driver's own statements here (`direct`); returns its rows, if it has any.

        What this session has read before is not changed by it: read it again.
        """
        connection = await self.connection()
        found = await connection.exec_driver_sql(statement.decode(), dict(values))
        return [dict(row) for row in found.mappings()] if found.returns_rows else []

    read = run

    async def first(self, statement: Statement, values: Values) -> dict[str, Any] | None:
        """Run one of them; returns its first row, if it has any."""
        return next(iter(await self.run(statement, values)), None)


class Database:
    """The connections of one process: SQLAlchemy's, and as many of the driver's own (`direct`) at most.

    `ring` is called with (topic, key) after a commit, for everything the transaction announced. It
    must not block and must not raise: a doorbell that is lost costs latency, nothing else. `name` is shown
    in `pg_stat_activity`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ring: Callable[[str, str], None],
        pool: int | None = None,
        patience: timedelta = _PATIENCE,
        name: str = "darkroom",
    ) -> None:
        self._ring = ring
        self._patience = patience.total_seconds()
        self._inside = 0  # transactions that are open, or wait for a connection
        size, url = pool or settings.database_pool, settings.database_url.get_secret_value()
        connect = conninfo(url, name)
        prepares: dict[str, Any] = {} if settings.database_prepare else {"prepare_threshold": None}
        self.direct = Direct(
            connect, size=size, patience=self._patience, ring=ring, options=prepares
        )
        self._engine = create_async_engine(
            _DRIVER,
            async_creator=partial(
                psycopg.AsyncConnection.connect, connect, context=ADAPTERS, **prepares
            ),
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._patience / 2,
            pool_use_lifo=True,
        )
        event.listen(self._engine.sync_engine, "handle_error", _drop_astray)
        self._sessions = async_sessionmaker(
            self._engine,
            class_=Transaction,
            expire_on_commit=False,
            autoflush=False,
            # A row that is read again is as it is by then, not as this session saw it before.
            execution_options={"populate_existing": True},
        )
        CONNECTIONS.watch_pools(self)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction; leaving it commits, an exception rolls back.

        Raises `Unavailable` when Postgres is away, or does not come to an end within the patience, and
        what the driver raised when the statement itself is at fault (`absences`).
        After a lost answer to COMMIT nobody knows whether it took effect: whoever must know reads
        again (`jobs.start` does, by its `start_id`).
        """
        self._inside += 1
        try:
            async with asyncio.timeout(self._patience), self._sessions.begin() as tx:
                yield tx
        except (DBAPIError, PoolTimeout, TimeoutError) as failed:
            refused = _absence(failed)
            if refused is None:
                raise
            raise refused from failed
        finally:
            self._inside -= 1
        for topic, key in tx.rings:
            self._ring(topic, key)
        for count in tx.tallies:
            count()

    def pools(self) -> dict[str, PoolState]:
        """Return how both pools stand, for metrics."""
        pool = self._engine.sync_engine.pool
        if not isinstance(pool, QueuePool):  # it is what `pool_size` makes
            raise TypeError(f"{type(pool).__name__} has no size")
        most, used = pool.size(), pool.checkedout()
        sessions = PoolState(most, used + pool.checkedin(), used, max(self._inside - most, 0))
        return {"sessions": sessions, "direct": self.direct.pool()}

    async def close(self) -> None:
        """Close every connection."""
        await self.direct.close()
        await self._engine.dispose()


def conninfo(url: str, name: str) -> str:
    """Return how to connect: what the URL says itself it keeps, but for what each session is told."""
    told = {each: str(said) for each, said in conninfo_to_dict(url).items() if said is not None}
    bounds = (f"-c {each}={value.replace(' ', _BLANK)}" for each, value in SESSION.items())
    options = " ".join((told.get("options", ""), *bounds)).strip()
    ours = {"options": options, "client_encoding": _ENCODING}
    return make_conninfo(**{**_CONNECT, "fallback_application_name": name, **told, **ours})


def open_engine(url: str) -> Engine:
    """Open an engine for migrations, which may take long and use one connection."""
    own = make_conninfo(url, client_encoding=_ENCODING)
    connect = partial(psycopg.connect, own, fallback_application_name="darkroom-migrate")
    return create_engine(_DRIVER, creator=connect)


def _absence(failed: DBAPIError | PoolTimeout | TimeoutError) -> Unavailable | None:
    if not isinstance(failed, DBAPIError) or failed.orig is None:
        return absence(failed, lost=True)
    # What has neither a statement nor a SQLSTATE failed to connect, or while it was committed.
    unstated = failed.statement is None and getattr(failed.orig, "sqlstate", None) is None
    return absence(failed.orig, lost=failed.connection_invalidated or unstated)


def _drop_astray(context: ExceptionContext) -> None:
    """Have SQLAlchemy drop every connection, as if this one had broken."""
    if leads_astray(context.original_exception):
        context.is_disconnect = True
