"""Whole arrows in one statement, through psycopg itself: one round trip, and no layer above the driver.

For what is done thousands of times a minute: a session of SQLAlchemy's takes eight times the CPU for the
same SELECT (decision 19). Everything else goes through `Database.transaction`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncRawCursor
from psycopg.adapt import AdaptersMap, Dumper, PyFormat
from psycopg.pq import ExecStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import JsonbDumper
from psycopg.types.numeric import IntDumper

from models.errors import Unavailable
from models.platform.db.absences import absence, leads_astray
from models.platform.db.stack import Connection, Stack
from models.platform.db.statements import LongStatement, Row, Statement, Values
from models.platform.metrics import PoolState

# A statement is at fault, or what it was given; whatever else Postgres says is `Unavailable`.
StatementError = psycopg.Error


class _WholeNumbers(IntDumper):
    """Numbers as `bigint`, as they stand in the tables, however small: the library takes the smallest type.

    Then 3 * 11,000 would be too much for `smallint`, and a statement another one for each size.
    """

    def upgrade(self, obj: int, format: PyFormat) -> Dumper:  # noqa: A002 - the library's name
        return super().upgrade(obj if abs(obj) > _BIG else _BIG, format)


_BIG = 2**31  # what `bigint` is needed for
ADAPTERS = AdaptersMap(psycopg.adapters)
ADAPTERS.register_dumper(dict, JsonbDumper)  # what is a dict here is `jsonb` there
ADAPTERS.register_dumper(int, _WholeNumbers)

# What cannot be connected to is tried once more, and then again for the next caller. With the library's
# five minutes, callers would wait in a growing pause when the outage is over already.
_RECONNECT = 0.0
_IDLE = 60.0  # seconds until a connection that nobody needed is closed
# A statement is prepared at its first use: there are few, and each is used over and over.
_PREPARED_AFTER = 0


class Direct:
    """The driver's own connections of one process, in autocommit: a statement is a transaction."""

    def __init__(
        self,
        connect: str,
        *,
        size: int,
        patience: float,
        ring: Callable[[str, str], None],
        options: Values,
    ) -> None:
        self._patience = patience
        self._size = size
        self._ring = ring
        settings = {
            "prepare_threshold": _PREPARED_AFTER, "autocommit": True, "row_factory": dict_row,
            "context": ADAPTERS, **options,
        }  # fmt: skip
        self._make = partial(
            Stack,
            connect,
            connection_class=Connection,
            kwargs=settings,
            min_size=0,
            max_size=size,
            open=False,
            timeout=patience / 2,
            max_idle=_IDLE,
            reconnect_timeout=_RECONNECT,
            reconnect_failed=self._tell,
        )
        # Who waits for a connection, by the end of its patience; and how many are lent.
        self._waiting: set[asyncio.Timeout] = set()
        self._lent_out = 0
        self._pool: Stack | None = None

    async def write(self, statement: Statement, values: Values) -> DictRow | None:
        """Run one statement and return its first row; otherwise as `write_all`."""
        rows = await self.write_all(statement, values)
        return rows[0] if rows else None

    async def write_all(self, statement: Statement, values: Values) -> list[DictRow]:
        """Run one statement and return its rows; it is committed when it has answered.

        Raises `Unavailable`, as `Database.transaction` does; then nobody knows whether it took effect.
        """
        return await self._run(statement, values)

    async def read(self, statement: Statement, values: Values) -> list[DictRow]:
        """Run a SELECT and return its rows; once more where the connection had died since its last use.

        Raises `Unavailable`.
        """
        try:
            return await self._run(statement, values)
        except _Stale:
            return await self._run(statement, values)

    def ring(self, topic: str, key: str = "") -> None:
        """Ring this doorbell: what it tells of is committed."""
        self._ring(topic, key)

    @asynccontextmanager
    async def transaction(self, first: Statement = b"") -> AsyncIterator["DirectTransaction"]:
        """Open a transaction for the few statements that cannot be one; leaving it commits.

        `first` is a SELECT of one row, without values: it goes out with the BEGIN, and `first_row` is what
        it found. An exception rolls back, and rings nothing. Raises `Unavailable`.
        """
        async with self._lent() as connection, _begun(connection, first) as opened:
            yield opened
        for topic, key in opened.rings:
            self._ring(topic, key)
        for count in opened.tallies:
            count()

    def pool(self) -> PoolState:
        """Return how the pool stands, for metrics."""
        stats = {} if self._pool is None else self._pool.get_stats()
        opened, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        return PoolState(self._size, opened, opened - idle, stats.get("requests_waiting", 0))

    async def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _run(self, statement: Statement, values: Values) -> list[DictRow]:
        async with self._lent() as connection:
            return await _rows(await _executed(connection, statement, values))

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        pool = self._pool = self._pool or self._make()
        if pool.closed:
            await pool.open()
        connection = None
        try:
            async with asyncio.timeout(self._patience) as until:
                self._waiting.add(until)
                try:
                    # Not `pool.connection()`, which also ends the transaction that autocommit never begins.
                    connection = await pool.getconn()
                finally:
                    self._waiting.discard(until)
                self._lent_out += 1
                try:
                    yield connection
                finally:
                    self._lent_out -= 1
                    await pool.putconn(connection)
        except (psycopg.Error, TimeoutError) as failed:
            broke = connection is not None and connection.closed
            refused = absence(failed, lost=broke or connection is None)
            if refused is None:
                raise
            if broke or leads_astray(failed):
                await pool.drain()  # the others have most likely died with it
                raise _Stale(refused.detail) from failed
            raise refused from failed

    def _tell(self, _: object) -> None:
        """End the patience of all who wait: there is no connecting, and nobody has one to give back."""
        if not self._lent_out:
            for until in self._waiting:
                until.reschedule(asyncio.get_running_loop().time())


class _Stale(Unavailable):
    """The connection was lost, or led to a server that must not write: a read may be tried again."""


class DirectTransaction:
    """One open transaction of such statements; what it rings is rung once it has committed."""

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self._connection = connection
        self.first_row: Row = {}
        self.rings: set[tuple[str, str]] = set()
        self.tallies: list[Callable[[], object]] = []

    async def run(self, statement: Statement, values: Values) -> list[DictRow]:
        """Run one statement and return its rows, if it has any."""
        return await _rows(await _executed(self._connection, statement, values))

    read = write_all = run

    async def first(self, statement: Statement, values: Values) -> DictRow | None:
        """Run one statement and return its first row."""
        return next(iter(await self.run(statement, values)), None)

    def ring(self, topic: str, key: str = "") -> None:
        """Ring this doorbell once the transaction has committed."""
        self.rings.add((topic, key))

    def tally(self, count: Callable[[], object]) -> None:
        """Count this once the transaction has committed. It must not raise."""
        self.tallies.append(count)


@asynccontextmanager
async def _begun(
    connection: AsyncConnection[DictRow], first: Statement
) -> AsyncIterator[DirectTransaction]:
    """Begin, with a SELECT in the same round trip, which only statements without values can share."""
    opened = DirectTransaction(connection)
    try:
        begun = await connection.execute(b"BEGIN; " + first, prepare=False)
        if begun.nextset():
            (opened.first_row,) = await _rows(begun)
        yield opened
    except BaseException:
        with suppress(psycopg.Error):  # it may be lost: what led here says more
            await connection.rollback()
        raise
    await connection.commit()


async def _executed(
    connection: AsyncConnection[DictRow], statement: Statement, values: Values
) -> AsyncCursor[DictRow]:
    if not isinstance(statement, LongStatement):
        return await connection.execute(statement, values)
    numbered = AsyncRawCursor(connection)
    return await numbered.execute(statement.numbered, [values[name] for name in statement.names])


async def _rows(cursor: AsyncCursor[DictRow]) -> list[DictRow]:
    # Not by `description`, which describes every column each time it is asked.
    found = cursor.pgresult
    has = found is not None and found.status == ExecStatus.TUPLES_OK  # perhaps without a column
    return await cursor.fetchall() if has else []
