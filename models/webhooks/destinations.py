"""Destinations: what shares a cap, a rate and a pause.

An endpoint is one, and so are all job URLs of a project that have one origin. Its throttle is a row of
`lanes`, whose column `lane` names the destination. A destination without a row is as fast as it may be. A
receiver that is busy pauses its destination; afterwards the destination is slow: one try at a time, until
one succeeds. An origin may be many receivers behind one host (Zapier, n8n, Slack): there the pause that one
of them asks for is its URL's, and the origin's is a minute at most. A project's pings have a destination of
their own, which nothing slows, and so has what is sent by hand.
"""

from datetime import datetime, timedelta
from hashlib import md5
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    and_,
    case,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.schema import Throttle

PING = "ping:"
HAND = "hand:"
URL = "url:"
_ORIGIN_PAUSE_MAX = timedelta(minutes=1)

# When nothing is left to remember of a destination: its rate after seconds, its slowness after a week.
_FORGET, _FORGET_SLOW = timedelta(hours=1), timedelta(days=7)


def of_endpoint(endpoint_id: UUID) -> str:
    """Return the name of an endpoint's destination."""
    return str(endpoint_id)


def of_origin(project_id: UUID, url: str) -> str:
    """Return the name of the destination of a job's own URL: its project's, to that origin."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    return f"{project_id}:{parts.scheme}://{parts.hostname}:{port}"


def of_ping(project_id: UUID) -> str:
    """Return the name of the destination of a project's pings."""
    return f"{PING}{project_id}"


def of_tests(project_id: UUID) -> str:
    """Return the name of the row that paces how fast a project may ask for pings."""
    return f"tests:{project_id}"


def of_notices(project_id: UUID) -> str:
    """Return the name of the row that paces how fast a project is told of its budgets."""
    return f"notices:{project_id}"


def by_hand(destination: str) -> str:
    """Return the name of the destination beside this one for what its project sends again by hand."""
    return HAND + usual(destination)


def usual(destination: str) -> str:
    """Return the destination that something sent by hand would otherwise have."""
    return destination.removeprefix(HAND)


def of_url(project_id: UUID, url: str) -> str:
    """Return the name of the row with the pause of one job URL; `of_url_in_sql` is the same in SQL."""
    return f"{URL}{project_id}:{md5(url.encode(), usedforsecurity=False).hexdigest()}"


def of_url_in_sql(
    project_id: SQLColumnExpression[UUID], url: SQLColumnExpression[str]
) -> ColumnElement[str]:
    """Return the name of the same row, as SQL."""
    return func.concat(URL, project_id, ":", func.md5(url))


def is_ping(destination: str) -> bool:
    """Return whether this is the destination of a ping."""
    return destination.startswith(PING)


async def admit(
    tx: Transaction, destination: str, every: timedelta, burst: int
) -> timedelta | None:
    """Count one more try at a pace of one per `every`, at most `burst` of them at once (GCRA).

    None when it may pass; otherwise nothing is counted, and this is how long until the next may. Whoever
    asks for the same destination waits until this transaction ends.
    """
    row = (
        await tx.execute(
            _ADMIT, {"lane": destination, "every": every, "ahead": every * (burst - 1)}
        )
    ).one()
    wait: timedelta = row.wait
    return None if row.passes else wait


async def slow(tx: Transaction, destination: str, pause: timedelta) -> None:
    """Pause a destination, and let it go on slowly afterwards; a longer pause that it has already stays."""
    await _pause(tx, destination, pause, slow=True)


async def slow_origin(
    tx: Transaction, destination: str, project_id: UUID, url: str, pause: timedelta
) -> None:
    """Pause one URL of an origin as long as it asked for, and the others for a minute at most."""
    await slow(tx, destination, min(pause, _ORIGIN_PAUSE_MAX))
    if pause:
        await _pause(tx, of_url(project_id, url), pause, slow=False)


async def paused_until(tx: Transaction, destination: str) -> datetime | None:
    """Return the end of a pause that goes on."""
    paused = select(Throttle.paused_until).where(
        Throttle.destination == destination, Throttle.paused_until > func.now()
    )
    return await tx.scalar(paused)


async def _pause(tx: Transaction, destination: str, pause: timedelta, *, slow: bool) -> None:
    until = func.now() + pause
    await tx.execute(
        insert(Throttle)
        .values(destination=destination, slow=slow, paused_until=until)
        .on_conflict_do_update(
            index_elements=["lane"],
            set_={"slow": slow, "paused_until": func.greatest(Throttle.paused_until, until)},
        )
    )


async def recover(tx: Transaction, destination: str) -> None:
    """End the slowness of a destination, because a try succeeded after its pause.

    One that succeeds during the pause had left before the receiver asked for it.
    """
    await tx.execute(
        update(Throttle)
        .where(
            Throttle.destination == destination, Throttle.slow, Throttle.paused_until <= func.now()
        )
        .values(slow=False, paused_until=None)
    )


async def resume(tx: Transaction, destination: str) -> None:
    """End a pause because a try by hand has succeeded in it; one at a time shows whether others do."""
    await tx.execute(
        update(Throttle)
        .where(Throttle.destination == destination, Throttle.paused_until > func.now())
        .values(paused_until=func.now())
    )


async def clear(tx: Transaction, destination: str) -> None:
    """Forget what slowed a destination: its receiver is another one now, or was mended."""
    await tx.execute(
        update(Throttle)
        .where(Throttle.destination == destination)
        .values(slow=False, paused_until=None)
    )


async def forget(tx: Transaction, limit: int) -> int:
    """Delete rows that slow nothing any more; returns how many."""
    kept = case((Throttle.slow, _FORGET_SLOW), else_=_FORGET)
    last = func.greatest(Throttle.paused_until, Throttle.free_at)  # passes over a NULL
    idle = or_(last < func.now() - kept, and_(last.is_(None), ~Throttle.slow))
    some = select(Throttle.destination).where(idle).limit(limit).with_for_update(skip_locked=True)
    gone = await tx.execute(
        delete(Throttle).where(Throttle.destination.in_(some)).returning(Throttle.destination)
    )
    return len(gone.all())


_ADMIT = text("""
    WITH counted AS (
        INSERT INTO lanes (lane, free_at) VALUES (:lane, now() + :every)
        ON CONFLICT (lane) DO UPDATE SET free_at = greatest(lanes.free_at, now()) + :every
         WHERE greatest(lanes.free_at, now()) <= now() + :ahead
        RETURNING lane
    )
    SELECT EXISTS (SELECT FROM counted) AS passes,
           coalesce((SELECT free_at FROM lanes WHERE lane = :lane) - now() - :ahead, interval '0') AS wait
""")
