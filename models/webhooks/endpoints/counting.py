"""Counts of endpoints by state, for metrics."""

from sqlalchemy import case, func, select

from models.platform.db.statements import Reader, prepared
from models.schema import Endpoint
from models.webhooks.endpoints.health import BY_ITS_PROJECT

# Failing: no try has succeeded since the last that failed.
_STATES = ("working", "failing", "disabled")


async def count(tx: Reader) -> dict[str, int]:
    """Count the endpoints in each state, of all projects; what its owner has disabled is not counted."""
    found = {row["state"]: int(row["n"]) for row in await tx.read(_COUNT, {})}
    return {each: found.get(each, 0) for each in _STATES}


_FAILED = Endpoint.disabled_reason.is_distinct_from(BY_ITS_PROJECT)
_STATE = case(
    (~Endpoint.enabled, "disabled"),
    (Endpoint.failing_since.is_not(None), "failing"),
    else_="working",
).label("state")
_COUNT = prepared(
    select(_STATE, func.count().label("n"))
    .where(Endpoint.deleted_at.is_(None), Endpoint.enabled | _FAILED)
    .group_by(_STATE)
)
