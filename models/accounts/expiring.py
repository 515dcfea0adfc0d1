"""API keys that expire soon and were not replaced, for metrics."""

from datetime import timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import aliased

from models.platform.db import Transaction
from models.schema import ApiKey

_Later = aliased(ApiKey)


async def count(tx: Transaction, within: timedelta) -> int:
    """Count the keys that work now and expire within this time, unless one was made in their place."""
    root = func.coalesce(ApiKey.root_id, ApiKey.id)
    replaced = exists().where(_Later.root_id == root, _Later.created_at > ApiKey.created_at)
    ending = ApiKey.expires_at.between(func.now(), func.now() + within)
    stmt = select(func.count()).where(ApiKey.revoked_at.is_(None), ending, ~replaced)
    return int(await tx.scalar(stmt) or 0)
