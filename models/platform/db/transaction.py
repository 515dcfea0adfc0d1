"""One open transaction, and what it tells after its commit."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from models.platform.db.statements import Statement, Values


class _UndoneError(Exception):
    """The end of a block that is to be undone."""


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

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """Undo what the block does: for asking whether Postgres refuses it."""
        with suppress(_UndoneError):
            async with self.begin_nested():
                yield
                raise _UndoneError

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
