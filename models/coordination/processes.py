"""Processes of all roles: each says every so often that it runs, since when, and which version it is."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Literal

import structlog
from sqlalchemy import delete, func, select, text

from models import ids
from models.errors import Unavailable
from models.platform.db import Database, Transaction
from models.platform.version import VERSION
from models.schema import Process

Role = Literal["api", "dispatcher", "worker"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_EVERY = timedelta(seconds=15)
SEEN = 3 * _EVERY  # since it was last heard of: after that it is missing
_FORGOTTEN = timedelta(minutes=10)
_GOODBYE = 1.0  # seconds for Postgres to hear that it leaves


def name() -> str:
    """Return a name for this process that no other one has."""
    return f"{os.uname().nodename}-{os.getpid()}-{ids.new().hex[-6:]}"


async def report(tx: Transaction, process: str, role: Role) -> None:
    """Report that a process runs; the first report notes since when."""
    await tx.execute(_REPORT, {"id": process, "role": role, "version": VERSION})


@asynccontextmanager
async def reported(database: Database, process: str, role: Role) -> AsyncIterator[None]:
    """Report a process within the block, and take its row away in the end."""
    task = asyncio.create_task(_report_for_ever(database, process, role))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_GOODBYE), database.transaction() as tx:
                await leave(tx, process)


async def _report_for_ever(database: Database, process: str, role: Role) -> None:
    """Report every 15 s; without Postgres, later."""
    while True:
        try:
            async with database.transaction() as tx:
                await report(tx, process, role)
        except Unavailable as away:
            log.warning("process.not_reported", reason=away.detail)
        await asyncio.sleep(_EVERY.total_seconds())


async def leave(tx: Transaction, process: str) -> None:
    """Delete the row of a process that stops by itself."""
    await tx.execute(delete(Process).where(Process.id == process))


async def forget(tx: Transaction) -> None:
    """Forget processes that have not been heard of for long."""
    await tx.execute(delete(Process).where(Process.seen_at < func.now() - _FORGOTTEN))


async def standing(tx: Transaction) -> list[tuple[Process, bool]]:
    """Return every process by role and age, and whether it was heard of lately."""
    lately = Process.seen_at > func.now() - SEEN
    rows = await tx.execute(
        select(Process, lately).order_by(Process.role, Process.started_at, Process.id)
    )
    return [(row[0], row[1]) for row in rows]


_REPORT = text("""
    INSERT INTO processes (id, role, version) VALUES (:id, :role, :version)
        ON CONFLICT (id) DO UPDATE SET seen_at = now(), version = excluded.version
""")
