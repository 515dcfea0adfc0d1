"""running → completed, → stopped: an action comes to one job after the other, oldest first.

A job is done in one transaction with the action's row, which is locked first: that is what makes it once.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, text, update

from models import ids
from models.accounts import living
from models.accounts.callers import Caller
from models.audit_log import actors
from models.audit_log.actors import Actor
from models.errors import BudgetExceeded, ModelNotFound, Refusal
from models.jobs.actions import choosing
from models.jobs.endings import ending
from models.jobs.reading import filtering
from models.jobs.retention import erasing
from models.jobs.submission import retrying
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.provider import catalog
from models.schema import Action, ApiKey, Job
from models.states import Acting, ActionKind
from models.webhooks import deliveries

SLICE = 25  # jobs of one look
_LOOKED_THROUGH = 10_000  # of the project's jobs, for one look: whatever the filter leaves of them
_MESSAGE_MAX = 300  # characters of a reason
_CHANGED = "It no longer fits the filter, or the same was done to it by something else."


@dataclass(frozen=True, slots=True)
class Look:
    """The next jobs of an action, and the place that it has come to when they are done.

    `edge` is None with the last of them; `full` says that there may be more before the edge.
    """

    action: Action
    jobs: Sequence[UUID]
    edge: UUID | None
    full: bool


async def running(tx: Reader) -> list[UUID]:
    """Return the oldest action under way of each project: the share of one project is one action."""
    return [row["id"] for row in await tx.read(RUNNING, {})]


async def look(tx: Transaction, action_id: UUID) -> Look | None:
    """Find an action's next jobs; None when it is not under way any more.

    → stopped, where the key that asked for it no longer works.
    """
    action = await tx.get(Action, action_id)
    if action is None or action.status != "running":
        return None
    if action.key_id is not None and not await living.is_living(tx, action.key_id):
        await _stop(tx, action, "key_revoked", "The API key that asked for it no longer works.")
        return None
    filter_ = replace(choosing.read(action.filter), after=action.cursor)
    filter_ = choosing.until(filter_, action.created_at)
    edge = await tx.scalar(filtering.edge(action.project_id, filter_, _LOOKED_THROUGH, oldest=True))
    among: list[ColumnElement[bool]] = [] if edge is None else [Job.id <= edge]
    next_ = select(Job.id).where(*_about(action, filter_), *among)
    found = list(await tx.scalars(next_.order_by(Job.project_id, Job.id).limit(SLICE)))
    return Look(action, found, edge, full=len(found) == SLICE)


async def act(tx: Transaction, presenter: Presenter, action_id: UUID, job_id: UUID) -> bool:
    """Do one job of an action, once; False when the action goes no further.

    A job that cannot be done any more is skipped, with the reason. → stopped, where a budget has no room.
    """
    action = await _take(tx, action_id, job_id)
    if action is None:
        return False
    about = select(Job).where(Job.id == job_id, *_about(action, choosing.read(action.filter)))
    try:
        async with tx.begin_nested():
            job = await tx.scalar(about.with_for_update(key_share=True, of=Job))
            if job is not None:
                await _DEEDS[_kind(action)](tx, presenter, action, job)
    except BudgetExceeded as refused:
        await _stop(tx, action, refused.code, refused.detail)
        return False
    except Refusal as refused:
        await _note(tx, action, job_id, "skipped", refused.code, refused.detail)
        return True
    if job is None:
        await _note(tx, action, job_id, "skipped", "changed", _CHANGED)
    else:
        await _move(tx, action, job_id, done=Action.done + 1)
    return True


async def fail(tx: Transaction, action_id: UUID, job_id: UUID, reason: str) -> bool:
    """Note that a job failed with something that nobody expected, and go on behind it."""
    action = await _take(tx, action_id, job_id)
    if action is None:
        return False
    await _note(tx, action, job_id, "failed", "internal_error", reason)
    return True


async def pass_on(tx: Transaction, look_: Look) -> bool:
    """Go on behind the jobs that were looked at; → completed behind the last of them: True.

    Nothing happens where another dispatcher has gone on meanwhile.
    """
    if look_.full:
        return False
    seen = look_.jobs[-1] if look_.jobs else look_.action.cursor
    there = (
        Action.id == look_.action.id,
        Action.status == "running",
        Action.cursor.is_not_distinct_from(seen),
    )
    action = await tx.scalar(select(Action).where(*there).with_for_update(key_share=True))
    if action is None:
        return False
    ends = look_.edge is None
    values = _completed(action) if ends else {"cursor": look_.edge}
    await tx.execute(update(Action).where(Action.id == action.id).values(values))
    return ends


def _completed(action: Action) -> dict[str, object]:
    """Return how an action ends: `matched` is the sum of what became of its jobs.

    A job that no longer fitted when it was looked for was never met, and is skipped as one that no longer
    fitted at its turn; one that has come to fit since it was asked for was met too.
    """
    values: dict[str, object] = {"status": "completed", "finished_at": func.now()}
    if action.matched is None:
        return values
    met = action.done + action.skipped + action.failed
    if missed := max(action.matched - met, 0):
        values["skipped"] = action.skipped + missed
        values["reasons"] = _counted(action, "changed", _CHANGED, missed)
    return values | {"matched": met + missed}


async def forget(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete actions that ended long ago; returns how many."""
    old = select(Action.id).where(Action.finished_at < func.now() - kept).limit(limit)
    gone = delete(Action).where(Action.id.in_(old)).returning(Action.id)
    return len((await tx.scalars(gone)).all())


def _about(action: Action, filter_: filtering.Filter) -> Sequence[ColumnElement[bool]]:
    filter_ = choosing.until(filter_, action.created_at)
    return list(choosing.chosen(action.project_id, _kind(action), filter_))


async def _take(tx: Transaction, action_id: UUID, job_id: UUID) -> Action | None:
    """Lock an action that is under way and has not come to this job yet."""
    ahead = Action.cursor.is_(None) | (Action.cursor < job_id)
    return await tx.scalar(
        select(Action)
        .where(Action.id == action_id, Action.status == "running", ahead)
        .with_for_update(key_share=True)
    )


async def _cancel(tx: Transaction, presenter: Presenter, _: Action, job: Job) -> None:
    await ending.cancel(tx, presenter, job.project_id, job.id)


async def _retry(tx: Transaction, presenter: Presenter, action: Action, job: Job) -> None:
    if catalog.find(job.model) is None:
        raise ModelNotFound(f"The model {job.model} can no longer be called.")
    # An operator's key is none of the project's, and a command has none: the new job is its old key's.
    own = ApiKey.id == action.key_id, ApiKey.project_id == job.project_id
    key_id = await tx.scalar(select(ApiKey.id).where(*own)) or job.key_id
    caller = Caller(job.project_id, key_id, frozenset(), idempotency_required=False)
    await retrying.retry(tx, presenter, caller, job.id)


async def _redeliver(tx: Transaction, _: Presenter, __: Action, job: Job) -> None:
    await deliveries.replay_job(tx, job.id)


async def _erase(tx: Transaction, _: Presenter, action: Action, job: Job) -> None:
    # The audit log names who asked for it, and the action in place of a request.
    acting: Acting = "command" if action.key_id is None else "key"
    asker = Actor(acting, key_id=action.key_id, request_id=ids.text(ids.ACTION, action.id))
    with actors.acting(asker):
        await erasing.erase(tx, job.project_id, job.id)


_DEEDS: dict[ActionKind, Callable[[Transaction, Presenter, Action, Job], Awaitable[None]]] = {
    "cancel": _cancel,
    "retry": _retry,
    "redeliver": _redeliver,
    "erase": _erase,
}


def _kind(action: Action) -> ActionKind:
    return next(each for each in _DEEDS if each == action.kind)


async def _move(tx: Transaction, action: Action, job_id: UUID, **values: object) -> None:
    moved = update(Action).where(Action.id == action.id)
    await tx.execute(moved.values(cursor=job_id, **values))


async def _note(
    tx: Transaction, action: Action, job_id: UUID, what: str, code: str, message: str
) -> None:
    """Count a job that was left out, and keep the first of each reason as an example."""
    reasons = _counted(action, code, message, 1, ids.text(ids.JOB, job_id))
    count = {"skipped": Action.skipped + 1} if what == "skipped" else {"failed": Action.failed + 1}
    await _move(tx, action, job_id, reasons=reasons, **count)


def _counted(
    action: Action, code: str, message: str, count: int, job: str | None = None
) -> dict[str, object]:
    """Return an action's reasons with more of one; the first job that is named is its example."""
    known = action.reasons.get(code)
    if isinstance(known, dict):
        more = {**known, "count": int(known["count"]) + count, "job": known.get("job") or job}
    else:
        more = {"count": count, "job": job, "message": message[:_MESSAGE_MAX]}
    return {**action.reasons, code: more}


async def _stop(tx: Transaction, action: Action, code: str, detail: str) -> None:
    stopped = update(Action).where(Action.id == action.id, Action.status == "running")
    because = {"code": code, "detail": detail}
    await tx.execute(
        stopped.values(status="stopped", stopped_because=because, finished_at=func.now())
    )


RUNNING = prepared(
    text("""
    SELECT DISTINCT ON (project_id) id FROM actions WHERE status = 'running' ORDER BY project_id, id
""")
)
