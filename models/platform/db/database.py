"""The connections of a process to Postgres, and `transaction()`, which commits.

A single statement may go through `direct` instead; nothing else commits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import (
    ExceptionContext,
    event,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import QueuePool

from models.errors import Unavailable
from models.platform.db.absences import absence, leads_astray
from models.platform.db.connecting import DRIVER, PLANNED_ONCE, conninfo
from models.platform.db.direct import ADAPTERS, Direct
from models.platform.db.transaction import Transaction
from models.platform.metrics import CONNECTIONS, PoolState
from models.settings import Settings

# A server that is frozen takes packets and ends no statement, so we look at our own clock too.
_PATIENCE = timedelta(seconds=35)  # past `statement_timeout`, whose error says more


class Database:
    """The connections of one process: SQLAlchemy's, and as many of the driver's own (`direct`) at most.

    `ring` is called with (topic, key) after a commit, for everything the transaction announced. It
    must not block and must not raise: a doorbell that is lost costs latency, nothing else. `name` is shown
    in `pg_stat_activity`. Without `plan_once` the statements of `direct` are planned as Postgres thinks
    best: as it must be where they are bounded by a number that they are given, as a dispatcher's are.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ring: Callable[[str, str], None],
        pool: int | None = None,
        patience: timedelta = _PATIENCE,
        name: str = "darkroom",
        plan_once: bool = True,
    ) -> None:
        self._ring = ring
        self._patience = patience.total_seconds()
        self._inside = 0  # transactions that are open, or wait for a connection
        size, url = pool or settings.database_pool, settings.database_url.get_secret_value()
        connect = conninfo(url, name)
        prepares: dict[str, Any] = {} if settings.database_prepare else {"prepare_threshold": None}
        plan_once = plan_once and settings.database_prepare
        once = conninfo(url, name, PLANNED_ONCE) if plan_once else connect
        self.direct = Direct(once, size=size, patience=self._patience, ring=ring, options=prepares)
        self._engine = create_async_engine(
            DRIVER,
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
        After a lost answer to COMMIT nobody knows whether it took effect: a caller that must know reads
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


def _absence(failed: DBAPIError | PoolTimeout | TimeoutError) -> Unavailable | None:
    if not isinstance(failed, DBAPIError) or failed.orig is None:
        return absence(failed, lost=True)
    # What has neither a statement nor a SQLSTATE failed to connect, or while it was committed.
    unstated = failed.statement is None and getattr(failed.orig, "sqlstate", None) is None
    return absence(failed.orig, lost=failed.connection_invalidated or unstated)


def _drop_astray(context: ExceptionContext) -> None:
    """Make SQLAlchemy drop every connection, as if this one had broken."""
    if leads_astray(context.original_exception):
        context.is_disconnect = True
