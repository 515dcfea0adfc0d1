"""Filters of a page of jobs, and what holds a job beside its own reason."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, or_, select, tuple_

from models import ids
from models.accounts import caps
from models.provider import gates, pauses
from models.schema import Attempt, Job
from models.states import NOT_STARTED

_NIL, _MAX = UUID(int=0), UUID(int=(1 << 128) - 1)  # no id is one of them (RFC 9562, 5.9 and 5.10)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs of a project; what is None does not narrow."""

    status: str | None = None
    model: str | None = None
    tag: str | None = None
    customer: str | None = None
    charge_state: str | None = None
    waiting_reason: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    before: UUID | None = None  # keyset: ids older than this one


def closed_to(job: type[Job] = Job) -> ColumnElement[str | None]:
    """Return, as SQL beside a job, why it is not dispatched though it is due; NULL when nothing holds it.

    What is paid already is held by no gate and no cap.
    """
    capped = case(((job.status == "queued") & caps.reached(job), "project_cap"))
    return case(
        (job.status.not_in(NOT_STARTED), None),
        (pauses.holding(job), "paused"),
        (job.phase == "keep", None),
        else_=func.coalesce(gates.closed_to(job), capped),
    )


CLOSED = closed_to()


def narrow(
    stmt: Select[Job, datetime, str | None], filter_: Filter
) -> Select[Job, datetime, str | None]:
    """Narrow a SELECT of jobs to those that a filter names."""
    columns = {Job.model: filter_.model, Job.customer: filter_.customer}
    stmt = stmt.where(*(column == value for column, value in columns.items() if value is not None))
    if filter_.waiting_reason is not None:
        stmt = stmt.where(_waits_for(filter_.waiting_reason))
    if filter_.status is not None:
        shown = ("queued", "released") if filter_.status == "queued" else (filter_.status,)
        stmt = stmt.where(Job.status.in_(shown))
    if filter_.tag is not None:
        stmt = stmt.where(Job.tags.contains([filter_.tag]))
    if filter_.metadata:
        stmt = stmt.where(Job.meta.contains(filter_.metadata))
    if filter_.charge_state is not None:
        of_state = (Attempt.job_id == Job.id) & (Attempt.charge == filter_.charge_state)
        stmt = stmt.where(select(Attempt.id).where(of_state).exists())
    if filter_.created_after is not None:
        stmt = stmt.where(Job.created_at >= filter_.created_after)
    if filter_.created_before is not None:
        stmt = stmt.where(Job.created_at < filter_.created_before)
    return stmt


def within(project_id: UUID, filter_: Filter) -> ColumnElement[bool]:
    """Return, as SQL, whether a job is of this project and within the ids that a filter bounds.

    Rows are compared, for with equality the planner may go through the jobs of all projects by their id
    until it has met enough of this one, which may have been idle for long. But it underrates what such a
    comparison leaves: where an index of its own knows what is looked for, that one must look cheaper.
    """
    first, last = _NIL, filter_.before or _MAX
    if filter_.created_after is not None:
        first = ids.first_at(ids.sooner(filter_.created_after))
    if filter_.created_before is not None:
        last = min(ids.first_at(ids.later(filter_.created_before)), last)
    if filter_.status or filter_.waiting_reason or filter_.charge_state:
        return (Job.project_id == project_id) & (Job.id >= first) & (Job.id < last)
    place = tuple_(Job.project_id, Job.id)
    return (place >= tuple_(project_id, first)) & (place < tuple_(project_id, last))


def _waits_for(reason: str) -> ColumnElement[bool]:
    """Return, as SQL, whether `view.waiting_reason` shows a job with this reason."""
    due = or_(Job.status == "released", Job.run_after <= func.now())
    shown = case(
        (due, func.coalesce(CLOSED, "queue")), else_=func.coalesce(Job.waiting_reason, "backoff")
    )
    return Job.status.in_(("queued", "released")) & (shown == reason)
