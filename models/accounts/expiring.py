"""API keys that expire soon and were not replaced, for metrics."""

from datetime import timedelta

from sqlalchemy import Interval, exists, func, select
from sqlalchemy.orm import aliased

from models.platform.db.statements import Reader, given, prepared
from models.schema import ApiKey

_Later = aliased(ApiKey)


async def count(tx: Reader, within: timedelta) -> int:
    """Count the keys that work now and expire within this time, unless one was made in their place."""
    (row,) = await tx.read(_COUNT, {"within": within})
    return int(row["n"])


_ROOT = func.coalesce(ApiKey.root_id, ApiKey.id)
_REPLACED = exists().where(_Later.root_id == _ROOT, _Later.created_at > ApiKey.created_at)
_ENDING = ApiKey.expires_at.between(func.now(), func.now() + given("within", Interval()))
_COUNT = prepared(
    select(func.count().label("n")).where(ApiKey.revoked_at.is_(None), _ENDING, ~_REPLACED)
)
