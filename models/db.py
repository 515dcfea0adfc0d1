"""Postgres: the engine, the base of every table, and `transaction()`, the only commit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, LargeBinary, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from models.direct import Direct
from models.errors import Unavailable
from models.settings import Settings

# What bounds a forgotten or frozen client; behind pgbouncer (which drops `options` when told to
# ignore it) set the same on the role.
_SESSION = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "idle_in_transaction_session_timeout": "5s",
        "lock_timeout": "10s",
        "statement_timeout": "30s",
        "timezone": "UTC",
    }.items()
)

_CONNECT = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "options": _SESSION,
}

# A server that is frozen takes packets and ends no statement, so we look at our own clock too.
_PATIENCE = timedelta(seconds=35)  # past `statement_timeout`, whose error says more

type_map = {
    str: Text,
    int: BigInteger,
    bytes: LargeBinary,
    datetime: DateTime(timezone=True),
    UUID: Uuid,
    list[str]: ARRAY(Text),
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


class Database:
    """The connections of one process: SQLAlchemy's, and as many of the driver's own (`direct`) at most.

    `ring` is called with (topic, key) after a commit, for everything the transaction announced. It
    must not block and must not raise: a doorbell that is lost costs latency, nothing else.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ring: Callable[[str, str], None],
        pool: int | None = None,
        patience: timedelta = _PATIENCE,
    ) -> None:
        self._ring = ring
        self._patience = patience.total_seconds()
        size, url = pool or settings.database_pool, settings.database_url.get_secret_value()
        self.direct = Direct(url, size=size, patience=self._patience, ring=ring, connect=_CONNECT)
        self._engine = create_async_engine(
            driver_url(url),
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._patience / 2,
            pool_use_lifo=True,
            connect_args=_CONNECT,
        )
        self._sessions = async_sessionmaker(
            self._engine, class_=Transaction, expire_on_commit=False, autoflush=False
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction; leaving it commits, an exception rolls back.

        Raises `Unavailable` when Postgres is away, or does not come to an end within the patience.
        After a lost answer to COMMIT nobody knows whether it took effect: whoever must know reads
        again (`jobs.start` does, by its `start_id`).
        """
        try:
            async with asyncio.timeout(self._patience), self._sessions.begin() as tx:
                yield tx
        except (OperationalError, InterfaceError, PoolTimeout, TimeoutError) as lost:
            raise Unavailable(
                "Postgres did not answer; nothing was lost. Try again in a moment."
            ) from lost
        except DBAPIError as lost:
            if not lost.connection_invalidated:
                raise
            raise Unavailable(
                "The connection to Postgres broke; nothing was lost. Try again in a moment."
            ) from lost
        for topic, key in tx.rings:
            self._ring(topic, key)

    async def close(self) -> None:
        """Close every connection."""
        await self.direct.close()
        await self._engine.dispose()


def driver_url(url: str) -> str:
    """Name psycopg 3 as the driver of a `postgresql://` URL."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url
