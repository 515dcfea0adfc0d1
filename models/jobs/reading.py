"""Reading jobs: one with all that belongs to it, or a page of many."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Uuid, case, func, or_, select, tuple_

from models import ids
from models.accounts import caps
from models.errors import NotFound
from models.jobs import attempts, view
from models.jobs.announcing import images_of
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.direct import Direct, Statement, attributes, given, loaded, prepared
from models.platform.jsonable import Json
from models.provider import gates, pauses
from models.schema import Attempt, Image, Job
from models.states import NOT_STARTED

_NIL, _MAX = UUID(int=0), UUID(int=(1 << 128) - 1)  # no id is one of them (RFC 9562, 5.9 and 5.10)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job and what belongs to it, as they were at `now` by the database's clock."""

    job: Job
    attempts: Sequence[Attempt]
    images: Sequence[Image]
    now: datetime
    closed_gate: str | None

    @property
    def etag(self) -> str:
        """Return the tag of this state, for `If-None-Match`."""
        reason = view.waiting_reason(self.job, self.now, self.closed_gate)
        return view.etag(self.job, self.now, reason)

    @property
    def image(self) -> Image | None:
        """The image that is this job's result."""
        return next((image for image in self.images if not image.late), None)

    def show(self, presenter: Presenter, inline: bytes | None = None) -> Json:
        """Show the job as JSON."""
        return view.job(
            presenter,
            self.job,
            self.attempts,
            self.images,
            self.now,
            closed_gate=self.closed_gate,
            inline=inline,
        )


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


async def snapshot(tx: Transaction, project_id: UUID | None, job_id: UUID) -> Snapshot:
    """Read a job; raises `NotFound`, also for another project's.

    Without a project only for whoever brought a signed URL of this very job.
    """
    stmt = _with_clock().where(Job.id == job_id)
    if project_id is not None:
        stmt = stmt.where(Job.project_id == project_id)
    row = (await tx.execute(stmt)).one_or_none()
    if row is None:
        raise NotFound("There is no such job in this project.")
    return (await _snapshots(tx, [row]))[0]


async def read(direct: Direct, project_id: UUID, job_id: UUID) -> Snapshot:
    """Read a job of a project as it is shown, without a transaction: for who only looks.

    Raises `NotFound`.
    """
    rows = await direct.read(_READ, {"job": job_id, "project": project_id})
    if not rows:
        raise NotFound("There is no such job in this project.")
    row = rows[0]
    now, gate = row.pop("now"), row.pop("gate")
    job, key = loaded(Job, row), {"job": job_id}
    tried = await direct.read(ATTEMPTS, key) if job.attempt else ()
    # A job that took another's image has one without an attempt.
    kept = await direct.read(_IMAGES, key) if job.attempt or job.status == "succeeded" else ()
    return Snapshot(
        job,
        [loaded(Attempt, each) for each in tried],
        [loaded(Image, each) for each in kept],
        now,
        gate,
    )


async def read_version(direct: Direct, project_id: UUID, job_id: UUID) -> Snapshot:
    """Read as much of a job as its ETag tells, for whoever may have the rest. Raises `NotFound`."""
    rows = await direct.read(_READ_VERSION, {"job": job_id, "project": project_id})
    if not rows:
        raise NotFound("There is no such job in this project.")
    now, gate = rows[0].pop("now"), rows[0].pop("gate")
    return Snapshot(loaded(Job, rows[0]), (), (), now, gate)


async def listing(
    tx: Transaction,
    project_id: UUID,
    filter_: Filter,
    limit: int,
    *narrower: ColumnElement[bool],
) -> tuple[list[Snapshot], bool]:
    """Read a page, newest first; returns it, and whether there is more."""
    stmt = _narrow(_with_clock().where(within(project_id, filter_), *narrower), filter_)
    newest = stmt.order_by(Job.project_id.desc(), Job.id.desc())
    rows = (await tx.execute(newest.limit(limit + 1))).all()
    return await _snapshots(tx, rows[:limit]), len(rows) > limit


async def finished(tx: Transaction, job_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of these jobs that have ended: one query for every client that waits."""
    ended = select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_not(None))
    return list(await tx.scalars(ended))


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


_CLOSED = closed_to()


def _one(columns: Sequence[ColumnElement[object]]) -> Statement:
    return prepared(
        select(*columns, func.now().label("now"), _CLOSED.label("gate")).where(
            Job.id == given("job", Uuid()), Job.project_id == given("project", Uuid())
        )
    )


# What the ETag tells, and what is shown; the rest is for those who move a job.
_TOLD = ("status", "version", "run_after", "waiting_reason")
_SHOWN = (
    *(
        "id",
        "project_id",
        "created_at",
        "attempt",
        "started_at",
        "finished_at",
        "erased_at",
        "input",
    ),
    *("priority", "tags", "meta", "customer", "queue_expires_at", "deadline", "retried_from"),
    *(
        "reused_from",
        "estimate",
        "held",
        "charged",
        "cancel_requested_at",
        "cancel_outcome",
        "error",
    ),
)
_READ = _one([each for each in attributes(Job) if each.key in {*_TOLD, *_SHOWN}])
_READ_VERSION = _one([each for each in attributes(Job) if each.key in _TOLD])
ATTEMPTS = prepared(
    select(*attributes(Attempt))
    .where(Attempt.job_id == given("job", Uuid()))
    .order_by(Attempt.number)
)
_IMAGES = prepared(select(*attributes(Image)).where(Image.job_id == given("job", Uuid())))


def _with_clock() -> Select[Job, datetime, str | None]:
    return select(Job, func.now(), _CLOSED)


def _narrow(
    stmt: Select[Job, datetime, str | None], filter_: Filter
) -> Select[Job, datetime, str | None]:
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
    """Return whether a job is of this project and among its ids that a filter bounds.

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
        (due, func.coalesce(_CLOSED, "queue")), else_=func.coalesce(Job.waiting_reason, "backoff")
    )
    return Job.status.in_(("queued", "released")) & (shown == reason)


async def _snapshots(
    tx: Transaction, rows: Sequence[Row[Job, datetime, str | None]]
) -> list[Snapshot]:
    begun = [job.id for job, _, _ in rows if job.attempt]
    tried = await attempts.of(tx, begun) if begun else {}
    # A job that took another's image has one without an attempt.
    shown = [job.id for job, _, _ in rows if job.attempt or job.status == "succeeded"]
    images = await images_of(tx, shown) if shown else {}
    return [
        Snapshot(job, tried.get(job.id, []), images.get(job.id, []), now, gate)
        for job, now, gate in rows
    ]
