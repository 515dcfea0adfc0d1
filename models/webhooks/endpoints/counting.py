"""Counts of endpoints by state, for metrics."""

from sqlalchemy import case, func, select

from models.platform.db import Transaction
from models.schema import Endpoint
from models.webhooks.endpoints.health import BY_ITS_PROJECT

# Failing: no try has succeeded since the last that failed.
_STATES = ("working", "failing", "disabled")


async def count(tx: Transaction) -> dict[str, int]:
    """Count the endpoints in each state, of all projects; what its owner has disabled is not counted."""
    failed = Endpoint.disabled_reason.is_distinct_from(BY_ITS_PROJECT)
    state = case(
        (~Endpoint.enabled, "disabled"),
        (Endpoint.failing_since.is_not(None), "failing"),
        else_="working",
    )
    rows = await tx.execute(
        select(state, func.count())
        .where(Endpoint.deleted_at.is_(None), Endpoint.enabled | failed)
        .group_by(state)
    )
    found = {row[0]: int(row[1]) for row in rows}
    return {each: found.get(each, 0) for each in _STATES}
