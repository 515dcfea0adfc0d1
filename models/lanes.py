"""Lanes: what shares a cap, a rate and a pause. An endpoint is one, and a project's URLs of one origin.

A lane without a row is as fast as it may be. A receiver that is busy pauses its lane; afterwards the
lane is slow: one try at a time, until one succeeds. A ping has a lane of its own, which nothing slows.
"""

from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import and_, case, delete, func, or_, update
from sqlalchemy.dialects.postgresql import insert

from models.db import Transaction
from models.schema import Lane

PING = "ping:"

# When nothing is left to remember of a lane: its rate after seconds, its slowness after a week.
_FORGET, _FORGET_SLOW = timedelta(hours=1), timedelta(days=7)


def of_endpoint(endpoint_id: UUID) -> str:
    """Name the lane of an endpoint."""
    return str(endpoint_id)


def of_origin(project_id: UUID, url: str) -> str:
    """Name the lane of a job's own URL: its project's, to that origin."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    return f"{project_id}:{parts.scheme}://{parts.hostname}:{port}"


def of_ping(delivery_id: UUID) -> str:
    """Name the lane of a ping: nobody else's."""
    return f"{PING}{delivery_id}"


def is_ping(lane: str) -> bool:
    """Tell whether this is the lane of a ping."""
    return lane.startswith(PING)


async def slow(tx: Transaction, lane: str, pause: timedelta) -> None:
    """Pause a lane, and let it go on slowly afterwards; a longer pause that it has already stays."""
    until = func.now() + pause
    await tx.execute(
        insert(Lane)
        .values(lane=lane, slow=True, paused_until=until)
        .on_conflict_do_update(
            index_elements=["lane"],
            set_={"slow": True, "paused_until": func.greatest(Lane.paused_until, until)},
        )
    )


async def recover(tx: Transaction, lane: str) -> None:
    """Let a slow lane be fast again, because a try succeeded after its pause.

    One that succeeds during the pause had left before the receiver asked for it.
    """
    await tx.execute(
        update(Lane)
        .where(Lane.lane == lane, Lane.slow, Lane.paused_until <= func.now())
        .values(slow=False, paused_until=None)
    )


async def clear(tx: Transaction, lane: str) -> None:
    """Forget what slowed a lane: its receiver is another one now, or was mended."""
    await tx.execute(update(Lane).where(Lane.lane == lane).values(slow=False, paused_until=None))


async def forget(tx: Transaction) -> None:
    """Delete the rows that slow nothing any more."""
    kept = case((Lane.slow, _FORGET_SLOW), else_=_FORGET)
    last = func.greatest(Lane.paused_until, Lane.free_at)  # passes over a NULL
    await tx.execute(
        delete(Lane).where(or_(last < func.now() - kept, and_(last.is_(None), ~Lane.slow)))
    )
