"""(new) → running → canceled: actions as a project asks for them, sees them and calls them off."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update

from models import ids
from models.accounts import living
from models.accounts.callers import NOBODY, Caller
from models.audit_log import recording
from models.errors import LimitReached, NotFound
from models.jobs.actions import choosing
from models.jobs.reading.filtering import Filter
from models.jobs.submission.candidates import demand_accepting
from models.jobs.submission.naming import wished_before
from models.money import prices
from models.platform.db import Transaction
from models.schema import Action, Job
from models.states import NOT_STARTED, ActionKind


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done, to which jobs; and the hashes of an Idempotency-Key and of its request."""

    kind: ActionKind
    filter: Filter
    name: tuple[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """How many jobs an action would touch now, and the credits that it would hold, or give back at once."""

    count: int
    credits: int


async def preview(tx: Transaction, project_id: UUID, kind: ActionKind, filter_: Filter) -> Preview:
    """Count what an action would touch, and change nothing."""
    waits = Job.status.in_(NOT_STARTED) & (Job.phase == "call")
    freed = func.coalesce(func.sum(Job.held).filter(waits), 0)
    estimates = func.coalesce(func.sum(Job.estimate), 0)
    rows = await tx.execute(
        select(
            Job.model, func.count().label("n"), estimates.label("estimates"), freed.label("freed")
        )
        .where(*choosing.chosen(project_id, kind, filter_))
        .group_by(Job.model)
    )
    found = rows.all()
    credits_ = 0
    if kind == "cancel":
        credits_ = sum(int(row.freed) for row in found)
    elif kind == "retry":
        known = await prices.present(tx)
        costs = (known.get(row.model, 0) * row.n or int(row.estimates) for row in found)
        credits_ = sum(costs)
    return Preview(sum(row.n for row in found), credits_)


async def request(
    tx: Transaction, caller: Caller, wish: Wish, *, matched: int | None, most: int
) -> tuple[Action, bool]:
    """Accept an action; returns it, and whether an earlier request of this name had made it.

    Raises `KeyReuse` when that one asked for something else, and `LimitReached` when so many of the project
    are under way, and `ProjectSuspended`, and `Unauthenticated` where the project was deleted.
    """
    if wish.kind == "retry":
        demand_accepting(caller)
    before = await wished_before(tx, Action, ids.ACTION, caller.project_id, wish.name)
    if before is not None:
        return before, True
    await living.demand_project(tx, caller.project_id)
    await _demand_room(tx, caller.project_id, most)
    name, fingerprint = wish.name or (None, None)
    action = Action(
        id=ids.new(),
        project_id=caller.project_id,
        key_id=None if caller.key_id == NOBODY else caller.key_id,
        kind=wish.kind,
        filter=choosing.written(wish.filter),
        matched=matched,
        idempotency_hash=name,
        fingerprint=fingerprint,
    )
    tx.add(action)
    await tx.flush()
    tx.ring("actions")
    named = ids.text(ids.ACTION, action.id)
    # Without the filter, which may name somebody: the log is for ever.
    asked: dict[str, object] = {"action": wish.kind, "count": matched}
    project_id = caller.project_id
    await recording.record(tx, "action.requested", named, project_id=project_id, after=asked)
    return await find(tx, caller.project_id, action.id), False


async def find(tx: Transaction, project_id: UUID | None, action_id: UUID) -> Action:
    """Return an action of a project, or of any; raises `NotFound`."""
    action = await tx.scalar(select(Action).where(*_named(project_id, action_id)))
    if action is None:
        where = "" if project_id is None else " in this project"
        raise NotFound(f"There is no such action{where}.")
    return action


async def listing(
    tx: Transaction, project_id: UUID, before: UUID | None, limit: int
) -> tuple[list[Action], bool]:
    """Return a page of a project's actions, newest first, and whether there are more."""
    mine = select(Action).where(Action.project_id == project_id)
    if before is not None:
        mine = mine.where(Action.id < before)
    newest = mine.order_by(Action.project_id.desc(), Action.id.desc())
    found = list(await tx.scalars(newest.limit(limit + 1)))
    return found[:limit], len(found) > limit


async def cancel(tx: Transaction, project_id: UUID | None, action_id: UUID) -> Action:
    """running → canceled: no other job is touched. One that has ended stays so. Raises `NotFound`."""
    running = *_named(project_id, action_id), Action.status == "running"
    ended = update(Action).where(*running).values(status="canceled", finished_at=func.now())
    whose = await tx.scalar(ended.returning(Action.project_id))
    if whose is not None:
        named = ids.text(ids.ACTION, action_id)
        await recording.record(tx, "action.canceled", named, project_id=whose)
    return await find(tx, project_id, action_id)


def _named(project_id: UUID | None, action_id: UUID) -> Iterator[ColumnElement[bool]]:
    """Yield, as SQL, that it is this action; of this project, where one is given."""
    yield Action.id == action_id
    if project_id is not None:
        yield Action.project_id == project_id


async def _demand_room(tx: Transaction, project_id: UUID, most: int) -> None:
    under_way = select(func.count()).where(
        Action.project_id == project_id, Action.status == "running"
    )
    if (await tx.scalar(under_way) or 0) >= most:
        raise LimitReached(
            f"{most:,} actions of this project are under way, as many as may be. Wait for one to end, or "
            "cancel one."
        )
