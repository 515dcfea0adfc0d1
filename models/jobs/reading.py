"""Reading jobs: one with all that belongs to it, or a page of many."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, case, func, or_, select

from models import attempts, caps, pauses, views
from models.db import Transaction
from models.errors import NotFound
from models.jobs.announcing import images_of
from models.schema import Attempt, Gate, Image, Job
from models.views import Json, Lens


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
        """Name this state, for `If-None-Match`."""
        reason = views.waiting_reason(self.job, self.now, self.closed_gate)
        return views.etag(self.job, self.now, reason)

    @property
    def image(self) -> Image | None:
        """The image that is this job's result."""
        return next((image for image in self.images if not image.spare), None)

    def show(self, lens: Lens, inline: bytes | None = None) -> Json:
        """Show the job as JSON."""
        return views.job(
            lens,
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


async def listing(
    tx: Transaction, project_id: UUID, filter_: Filter, limit: int
) -> tuple[list[Snapshot], bool]:
    """Read a page, newest first; gives it, and whether there is more."""
    stmt = _narrow(_with_clock().where(Job.project_id == project_id), filter_)
    rows = (await tx.execute(stmt.order_by(Job.id.desc()).limit(limit + 1))).all()
    return await _snapshots(tx, rows[:limit]), len(rows) > limit


async def finished(tx: Transaction, job_ids: Sequence[UUID]) -> list[UUID]:
    """Give those of these jobs that have ended: one query for every client that waits."""
    ended = select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_not(None))
    return list(await tx.scalars(ended))


_GATE = select(Gate.reason).order_by(Gate.closed_at).limit(1).scalar_subquery()


def closed_to(job: type[Job] = Job) -> ColumnElement[str | None]:
    """Tell, beside a job, why it is not released though it is due; None when nothing is closed to it.

    What is paid already is held by no gate and no cap.
    """
    return case(
        (job.status.not_in(("queued", "released")), None),
        (pauses.holding(job), "paused"),
        (job.phase == "keep", None),
        (_GATE.is_not(None), _GATE),
        ((job.status == "queued") & caps.reached(job), "project_cap"),
    )


_CLOSED = closed_to()


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
    return stmt.where(
        Job.created_at >= (filter_.created_after or Job.created_at),
        Job.created_at < (filter_.created_before or func.now() + timedelta(days=1)),
        *([] if filter_.before is None else [Job.id < filter_.before]),
    )


def _waits_for(reason: str) -> ColumnElement[bool]:
    """Tell, as `views.waiting_reason` does, whether this is the reason that a job is shown with."""
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
