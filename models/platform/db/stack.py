"""A pool of the driver's connections, of which as few as can be are used."""

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool


class Connection(AsyncConnection[DictRow]):
    """A connection that knows whether somebody has had it: until then it has no plans."""

    used = False


class Stack(AsyncConnectionPool[Connection]):
    """A pool that lends the connection which came back last, so that few know the plans and are kept.

    The library lends the one that came back first. Postgres plans each statement on each connection, which
    takes longer than to run it; a new connection, for which nobody waits any more, is the last that is
    lent, since the first statements on it take tens of milliseconds.
    """

    async def _get_ready_connection(
        self,
        timeout: float | None,  # noqa: ASYNC109 - it is the library's
    ) -> Connection | None:
        self._pool.rotate()
        return await super()._get_ready_connection(timeout)

    async def _add_to_pool(self, conn: Connection) -> None:
        is_new, conn.used = not conn.used, True
        await super()._add_to_pool(conn)
        if is_new and self._pool and self._pool[-1] is conn:
            self._pool.rotate()
