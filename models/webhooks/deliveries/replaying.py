"""Replays: a project sends again what was held or has ended; and pings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, text, update
from sqlalchemy.orm import aliased

from models import ids
from models.errors import Conflict, Erased, TooMany
from models.platform.db import Transaction
from models.schema import Delivery, Endpoint, Job, Throttle
from models.settings import Settings
from models.states import DeliveryState
from models.webhooks import bodies, destinations, endpoints, events
from models.webhooks.deliveries.reading import Logged, read

_PATIENCE = timedelta(seconds=5)
_UNDER_WAY: tuple[DeliveryState, ...] = ("pending", "sending")
_MISSED: tuple[DeliveryState, ...] = ("exhausted", "blocked", "aborted", "held")
_Own = aliased(Job)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many pings of a project may be under way, and begin in a minute."""

    at_once: int
    per_minute: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return it as the settings say."""
        return cls(settings.pings_at_once, settings.pings_per_minute)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one call replayed, and the `after` of the next; None when it was the last."""

    count: int
    next_after: UUID | None


async def ping(
    tx: Transaction, project_id: UUID, endpoint_id: UUID | None, pace: Pace | None = None
) -> UUID:
    """Send a ping to an endpoint, also to a disabled one; returns its delivery, which is tried once.

    Pings have a destination of their own, so that pause, cap and rate do not hold them; and what comes of
    one neither disables the endpoint nor slows it nor counts. Raises `NotFound`, and `TooMany` when so many
    of the project are under way, or have begun within a minute.
    """
    endpoint = await endpoints.find(tx, project_id, endpoint_id)
    if pace is not None:
        await _keep(pace, tx, project_id)
    data: dict[str, object] = {
        "endpoint_id": ids.text(ids.ENDPOINT, endpoint.id),
        "url": endpoint.url,
        "events": endpoint.events,
    }
    return await events.announce_ping(tx, endpoint, bodies.of("ping", data, datetime.now(UTC)))


async def _keep(pace: Pace, tx: Transaction, project_id: UUID) -> None:
    every = timedelta(minutes=1) / pace.per_minute
    wait = await destinations.admit(tx, destinations.of_tests(project_id), every, pace.at_once)
    if wait is not None:
        raise TooMany(
            f"A project may send {pace.per_minute} pings a minute, {pace.at_once} of them at once; "
            "wait, then test again.",
            retry_after=wait,
        )
    mine = and_(
        Delivery.project_id == project_id, Delivery.destination == destinations.of_ping(project_id)
    )
    # State by state: each has an index of its own, and a list of both has none.
    under_way = or_(*(and_(mine, Delivery.state == each) for each in _UNDER_WAY))
    if (await tx.scalar(select(func.count()).where(under_way)) or 0) >= pace.at_once:
        raise TooMany(
            f"{pace.at_once} pings of this project are under way, as many as may be; a receiver that "
            "hangs holds one for 15 seconds.",
            retry_after=_PATIENCE,
        )


async def redeliver(tx: Transaction, project_id: UUID, delivery_id: UUID | None) -> Logged:
    """held, finished, or paused → pending: send a delivery again at once, with a fresh schedule.

    It passes by the pause, the slowness and the line of its destination: the caller knows its receiver.
    Raises `NotFound`, `Conflict` while it is on its way, or when its endpoint is disabled or gone, and
    `Erased` for the own URL of a job that was erased.
    """
    found = (await read(tx, project_id, delivery_id)).delivery
    url = found.url
    if found.endpoint_id is not None:
        url = _open(await endpoints.take(tx, found.endpoint_id)).url
    elif await _erased(tx, found.job_id):
        raise Erased("The job was erased, and with it the URL that it was to be told at.")
    moved = await tx.execute(
        update(Delivery)
        .where(Delivery.id == found.id, _idle())
        .values(
            state="pending",
            destination=destinations.by_hand(found.destination),
            next_at=func.now(),
            finished_at=None,
            tries_before=Delivery.tries,
            url=url,
        )
        .returning(Delivery.id)
    )
    if moved.one_or_none() is None:
        raise Conflict("The delivery is on its way already; see its `next_try_at`.")
    tx.ring("deliveries")
    return await read(tx, project_id, delivery_id)


async def replay(
    tx: Transaction,
    project_id: UUID,
    endpoint_id: UUID | None,
    *,
    since: datetime | None,
    until: datetime | None,
    states: Sequence[DeliveryState],
    after: UUID | None,
    limit: int,
) -> Replayed:
    """held or finished → pending: send again what an endpoint did not get, oldest first, a batch a call.

    `since` (included) and `until` (not) bound when the deliveries arose. What a call has moved is in none
    of `states` any more, so a replay that broke off may go on from `after` or begin anew: each is moved
    once. Pings are not replayed. Raises `NotFound`, and `Conflict` when the endpoint is disabled.
    """
    # The endpoint's row makes two replays, or a replay and a change, come one after the other.
    endpoint = _open(await endpoints.find(tx, project_id, endpoint_id, lock=True))
    wanted = select(Delivery.id).where(
        Delivery.endpoint_id == endpoint.id,
        Delivery.destination == destinations.of_endpoint(endpoint.id),
        Delivery.state.in_(set(states) - set(_UNDER_WAY)),
    )
    if after is not None:
        wanted = wanted.where(Delivery.id > after)
    if since is not None:
        low = ids.first_at(ids.sooner(since))
        wanted = wanted.where(Delivery.created_at >= since, Delivery.id >= low)
    if until is not None:
        high = ids.first_at(ids.later(until))
        wanted = wanted.where(Delivery.created_at < until, Delivery.id < high)
    found = list(await tx.scalars(wanted.order_by(Delivery.id).limit(limit)))
    moved = (await tx.execute(_REPLAY, {"ids": found, "url": endpoint.url})).all()
    tx.ring("deliveries")
    return Replayed(len(moved), found[-1] if found and len(found) == limit else None)


def missed() -> tuple[ColumnElement[bool], ...]:
    """Return, as SQL beside a delivery, whether it did not arrive, and has somewhere to go.

    That is an endpoint that takes deliveries, or the own URL of a job that was not erased.
    """
    open_ = Endpoint.enabled & Endpoint.deleted_at.is_(None)
    endpoint = select(Endpoint.id).where(Endpoint.id == Delivery.endpoint_id, open_).exists()
    erased = select(_Own.id).where(_Own.id == Delivery.job_id, _Own.erased_at.is_not(None)).exists()
    own = Delivery.endpoint_id.is_(None) & ~erased
    return Delivery.state.in_(_MISSED), or_(endpoint, own)


async def replay_job(tx: Transaction, job_id: UUID) -> int:
    """held or finished → pending: send again what did not arrive of a job's events; returns how many.

    Each waits in the line of its destination. The caller has locked the job.
    """
    told = select(Delivery.endpoint_id).where(Delivery.job_id == job_id)
    # In their order, and as `redeliver` does: none of them is disabled until this has committed.
    mine = select(Endpoint.id).where(Endpoint.id.in_(told)).order_by(Endpoint.id)
    await tx.execute(mine.with_for_update(key_share=True))
    present = select(Endpoint.url).where(Endpoint.id == Delivery.endpoint_id).scalar_subquery()
    moved = await tx.execute(
        update(Delivery)
        .where(Delivery.job_id == job_id, *missed())
        .values(
            state="pending",
            destination=func.regexp_replace(Delivery.destination, f"^{destinations.HAND}", ""),
            next_at=func.now(),
            finished_at=None,
            tries_before=Delivery.tries,
            url=func.coalesce(present, Delivery.url),
        )
        .returning(Delivery.id)
    )
    tx.ring("deliveries")
    return len(moved.all())


# A microsecond apart, so that they are sent in the order in which they arose.
_REPLAY = text("""
    UPDATE deliveries SET state = 'pending', tries_before = tries, finished_at = NULL, url = :url,
                          next_at = now() + make_interval(secs => (n - cardinality(:ids)) * 1e-6)
      FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS found (id, n)
     WHERE deliveries.id = found.id AND state NOT IN ('pending', 'sending')
    RETURNING deliveries.id
""")


def _idle() -> ColumnElement[bool]:
    """Return, as SQL, whether a delivery is not on its way: ended, held, or paused by its receiver."""
    rows = (Delivery.destination, destinations.of_url_in_sql(Delivery.project_id, Delivery.url))
    paused = exists().where(Throttle.destination.in_(rows), Throttle.paused_until > func.now())
    waits = and_(
        Delivery.state == "pending", ~Delivery.destination.startswith(destinations.HAND), paused
    )
    return or_(waits, Delivery.state.not_in(_UNDER_WAY))


async def _erased(tx: Transaction, job_id: UUID | None) -> bool:
    """Return whether a job was erased, and keep it from being erased until this has committed."""
    job = await tx.scalar(select(Job).where(Job.id == job_id).with_for_update(read=True))
    return job is not None and job.erased_at is not None


def _open(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that takes deliveries, or raise `Conflict`."""
    if endpoint.deleted_at is not None:
        raise Conflict("The endpoint was deleted; nothing can be sent to it any more.")
    if not endpoint.enabled:
        raise Conflict(
            f"The endpoint is disabled ({endpoint.disabled_reason}); enable it first, then replay."
        )
    return endpoint
