"""Filters of a page of jobs, and what holds a job beside its own reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, or_, select, text, tuple_

from models import ids
from models.accounts import caps
from models.jobs.reading import finding
from models.provider import gates, pauses
from models.schema import Attempt, Job
from models.states import IDEMPOTENT_ROUTES, IN_FLIGHT, NOT_STARTED, UNFINISHED

_NIL, _MAX = UUID(int=0), UUID(int=(1 << 128) - 1)  # no id is one of them (RFC 9562, 5.9 and 5.10)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs of a project; what is None or empty does not narrow.

    The list, its CSV and the actions choose by it; `before` and `after` are the places that they have
    come to, newest and oldest first.
    """

    statuses: tuple[str, ...] = ()
    model: str | None = None
    tag: str | None = None
    customer: str | None = None
    idempotency_key: str | None = None
    charge_state: str | None = None
    waiting_reason: str | None = None
    erased: bool | None = None
    search: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    batch: UUID | None = None
    custom_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    before: UUID | None = None  # keyset: ids older than this one
    after: UUID | None = None  # keyset: ids newer than this one

    @property
    def has_index(self) -> bool:
        """Whether an index may know what is looked for, beside that of all jobs by their age."""
        unknown = self.charge_state == "unknown"
        unfinished = bool(self.statuses) and set(self.statuses) <= set(UNFINISHED)
        chosen = self.waiting_reason, self.customer, self.batch, self.idempotency_key
        return any((*chosen, self.metadata, self.erased, unknown, unfinished, self._names_batch))

    @property
    def is_sought(self) -> bool:
        """Whether jobs are looked at one by one, since no index knows those that are meant."""
        if self.search is not None:
            return not self._names_batch
        chosen = self.statuses, self.tag, self.model, self.charge_state, self.custom_id
        return not self.has_index and any(chosen)

    @property
    def _names_batch(self) -> bool:
        return self.search is not None and ids.batch(self.search) is not None


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


def narrow(filter_: Filter) -> Iterator[ColumnElement[bool]]:
    """Yield, as SQL beside a job, what a filter demands of it; the place in the list is `within`."""
    yield from _asked_for(filter_)
    yield from _stands(filter_)
    if filter_.search is not None:
        yield finding.fits(filter_.search)
    if filter_.created_after is not None:
        yield Job.created_at >= filter_.created_after
    if filter_.created_before is not None:
        yield Job.created_at < filter_.created_before


def _asked_for(filter_: Filter) -> Iterator[ColumnElement[bool]]:
    columns = {
        Job.model: filter_.model,
        Job.customer: filter_.customer,
        Job.batch_id: filter_.batch,
        Job.custom_id: filter_.custom_id,
    }
    yield from (column == value for column, value in columns.items() if value is not None)
    if filter_.idempotency_key is not None:
        yield Job.idempotency_route.in_(IDEMPOTENT_ROUTES)
        yield Job.idempotency_key == filter_.idempotency_key
    if filter_.tag is not None:
        yield Job.tags.contains([filter_.tag])
    if filter_.metadata:
        yield Job.meta != text("'{}'::jsonb")  # by the words of the index
        yield Job.meta.contains(filter_.metadata)


def _stands(filter_: Filter) -> Iterator[ColumnElement[bool]]:
    if filter_.waiting_reason is not None:
        yield _waits_for(filter_.waiting_reason)
    if filter_.statuses:
        inside = ("released",) if "queued" in filter_.statuses else ()
        yield _stands_at({*filter_.statuses, *inside})
    if filter_.erased is not None:
        yield Job.erased_at.is_not(None) if filter_.erased else Job.erased_at.is_(None)
    if filter_.charge_state is not None:
        of_state = (Attempt.job_id == Job.id) & (Attempt.charge == filter_.charge_state)
        found = select(Attempt.id).where(of_state)
        if filter_.charge_state == "unknown":  # of which an index knows the few
            yield found.exists()
        else:
            yield found.limit(1).scalar_subquery().is_not(None)


def within(project_id: UUID, filter_: Filter) -> ColumnElement[bool]:
    """Return, as SQL, whether a job is of this project and within the ids that a filter bounds.

    Rows are compared, for with equality the planner may go through the jobs of all projects by their id
    until it has met enough of this one, which may have been idle for long. But it underrates what such a
    comparison leaves: where an index of its own knows what is looked for, that one must look cheaper.
    """
    first, last = _bounds(filter_)
    if filter_.has_index:
        return (Job.project_id == project_id) & (Job.id >= first) & (Job.id < last)
    place = tuple_(Job.project_id, Job.id)
    return (place >= tuple_(project_id, first)) & (place < tuple_(project_id, last))


def edge(project_id: UUID, filter_: Filter, reach: int, *, oldest: bool = False) -> Select[UUID]:
    """Select the job at the end of the next so many, whatever else the filter demands of them; or none.

    What looks no further costs the same however long the history is, and however rare what it looks for.
    """
    first, last = _bounds(filter_)
    place = tuple_(Job.project_id, Job.id)
    among = select(Job.id).where(
        place >= tuple_(project_id, first), place < tuple_(project_id, last)
    )
    order = [each.asc() if oldest else each.desc() for each in (Job.project_id, Job.id)]
    return among.order_by(*order).offset(reach - 1).limit(1)


def _bounds(filter_: Filter) -> tuple[UUID, UUID]:
    """Return the first id that may be meant, and the first that may not be any more."""
    first, last = _NIL, filter_.before or _MAX
    if filter_.after is not None:
        first = UUID(int=filter_.after.int + 1)
    if filter_.created_after is not None:
        first = max(ids.first_at(ids.sooner(filter_.created_after)), first)
    if filter_.created_before is not None:
        last = min(ids.first_at(ids.later(filter_.created_before)), last)
    return first, last


def _waits_for(reason: str) -> ColumnElement[bool]:
    """Return, as SQL, whether `view.waiting_reason` shows a job with this reason."""
    due = or_(Job.status == "released", Job.run_after <= func.now())
    shown = case(
        (due, func.coalesce(CLOSED, "queue")), else_=func.coalesce(Job.waiting_reason, "backoff")
    )
    return _stands_at(set(NOT_STARTED)) & (shown == reason)


def _stands_at(statuses: set[str]) -> ColumnElement[bool]:
    """Return, as SQL, whether a job has one of these: in parts, as indexes of what is unfinished do."""
    waiting = statuses & {"queued"}
    called = statuses & set(IN_FLIGHT)
    parts = waiting, called, statuses - waiting - called
    return or_(*(Job.status.in_(sorted(part)) for part in parts if part))
