"""Operators' keys, and the API keys of all projects as an operator sees them."""

from uuid import UUID

from sqlalchemy import select

from models import ids
from models.accounts import api_keys
from models.platform.db import Transaction
from models.schema import ApiKey, Project

_SCOPE = ("operator",)


async def create_key(tx: Transaction, name: str, key: str) -> ApiKey:
    """Register an operator's key: it opens the operator plane, and belongs to no project.

    Raises `Misconfigured` for a key of another form.
    """
    return await api_keys.register(tx, None, name, _SCOPE, key)


async def keys(
    tx: Transaction, project_id: UUID | None, before: UUID | None, limit: int
) -> tuple[list[tuple[ApiKey, str | None]], bool]:
    """Return a page of keys with their projects' names, newest first, and whether there are more.

    Of all projects and of operators, or of one project. `before` is the last key of the page before.
    """
    rows = select(ApiKey, Project.name).outerjoin(Project, Project.id == ApiKey.project_id)
    if project_id is not None:
        rows = rows.where(ApiKey.project_id == project_id)
    if before is not None:
        rows = rows.where(ApiKey.id < before)
    found = await tx.execute(rows.order_by(ApiKey.id.desc()).limit(limit + 1))
    read: list[tuple[ApiKey, str | None]] = [(row[0], row[1]) for row in found]
    return read[:limit], len(read) > limit


async def find(tx: Transaction, hint_or_id: str) -> UUID | None:
    """Return the key that is named by its `key_…` id, or by what it begins with (`dr_live_<id>`)."""
    public_id = hint_or_id.removeprefix("dr_live_").partition("_")[0]
    key_id = ids.parse(ids.KEY, hint_or_id)
    which = ApiKey.public_id == public_id if key_id is None else ApiKey.id == key_id
    return await tx.scalar(select(ApiKey.id).where(which))
