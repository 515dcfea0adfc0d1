"""A worker's connections: a project whose statements all wait for one row leaves some for the others."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy import select, text

from models.accounts.callers import Caller
from models.platform.db import Database, Transaction
from models.platform.vault import Vault
from models.schema import Project
from models.settings import Settings
from tests.conftest import make_project
from worker.runtime.context import open_context, whose
from worker.runtime.persistence import persist

_POOL = 4


async def test_a_project_whose_row_is_held_leaves_connections_for_another(
    settings: Settings, database: Database, vault: Vault, caller: Caller
) -> None:
    other, _ = await make_project(database, vault, "quiet")
    few = settings.model_copy(update={"database_pool": _POOL})
    async with open_context(few, "worker-1") as context:

        async def book(project_id: UUID) -> None:
            """Do what each booking does: read the project's row, and keep it from being changed."""
            whose.set(project_id)
            await persist(context, _reading(project_id))

        async with asyncio.TaskGroup() as group, database.transaction() as tx:
            held = select(Project.id).where(Project.id == caller.project_id).with_for_update()
            await tx.execute(held)
            stuck = [group.create_task(book(caller.project_id)) for _ in range(3 * _POOL)]
            await _until_they_wait(database)
            async with asyncio.timeout(5):
                await group.create_task(book(other.project_id))
            assert not any(each.done() for each in stuck)


def _reading(project_id: UUID) -> Callable[[Transaction], Awaitable[None]]:
    async def read(tx: Transaction) -> None:
        mine = select(Project.id).where(Project.id == project_id)
        await tx.execute(mine.with_for_update(read=True, key_share=True))

    return read


async def _until_they_wait(database: Database) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    seen = 0
    async with asyncio.timeout(20):
        while seen < _POOL // 2:
            # A transaction each: within one, pg_stat_activity stays as it was first seen.
            async with database.transaction() as tx:
                seen = await tx.scalar(waiting) or 0
            await asyncio.sleep(0.01)
