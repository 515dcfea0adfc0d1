"""Reading jobs: one with all that belongs to it, or a page of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Uuid, func, select

from models.errors import NotFound
from models.images.records import images_of
from models.jobs import attempts, view
from models.jobs.reading.filtering import CLOSED, Filter, narrow, within
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.direct import Direct
from models.platform.db.statements import Reader, attributes, given, loaded, prepared
from models.platform.jsonable import Json
from models.schema import Attempt, Image, Job


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


async def read(driver: Reader, project_id: UUID | None, job_id: UUID) -> Snapshot:
    """Read a job of a project as it is shown; raises `NotFound`, also for another project's.

    `project_id` is None only for a signed URL of this very job.
    """
    asked = {"job": job_id, "project": project_id}
    rows = await driver.read(_READ_ANY if project_id is None else _READ, asked)
    if not rows:
        raise NotFound("There is no such job in this project.")
    row = rows[0]
    now, gate = row.pop("now"), row.pop("gate")
    return (await _whole(driver, [(loaded(Job, row), now, gate)]))[0]


async def read_version(direct: Direct, project_id: UUID, job_id: UUID) -> Snapshot:
    """Read only as much of a job as its ETag tells. Raises `NotFound`."""
    rows = await direct.read(_READ_VERSION, {"job": job_id, "project": project_id})
    if not rows:
        raise NotFound("There is no such job in this project.")
    now, gate = rows[0].pop("now"), rows[0].pop("gate")
    return Snapshot(loaded(Job, rows[0]), (), (), now, gate)


async def listing(
    tx: Transaction, project_id: UUID, filter_: Filter, limit: int
) -> tuple[list[Snapshot], bool]:
    """Read a page, newest first; returns it, and whether there is more."""
    stmt = with_clock().where(within(project_id, filter_), *narrow(filter_))
    newest = stmt.order_by(Job.project_id.desc(), Job.id.desc())
    rows = (await tx.execute(newest.limit(limit + 1))).all()
    return await snapshots(tx, rows[:limit]), len(rows) > limit


async def finished(tx: Transaction, job_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of these jobs that have ended: one query for every client that waits."""
    ended = select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_not(None))
    return list(await tx.scalars(ended))


def _one(columns: Sequence[ColumnElement[object]]) -> Select[*tuple[Any, ...]]:
    asked = select(*columns, func.now().label("now"), CLOSED.label("gate"))
    return asked.where(Job.id == given("job", Uuid()))


_OF_PROJECT = Job.project_id == given("project", Uuid())
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
        "batch_id",
        "custom_id",
        "estimate",
        "held",
        "charged",
        "cancel_requested_at",
        "cancel_outcome",
        "error",
    ),
)
_WHOLE = _one([each for each in attributes(Job) if each.key in {*_TOLD, *_SHOWN}])
_READ, _READ_ANY = prepared(_WHOLE.where(_OF_PROJECT)), prepared(_WHOLE)
_READ_VERSION = prepared(
    _one([each for each in attributes(Job) if each.key in _TOLD]).where(_OF_PROJECT)
)


ATTEMPTS = prepared(
    select(*attributes(Attempt))
    .where(Attempt.job_id == given("job", Uuid()))
    .order_by(Attempt.number)
)


def with_clock() -> Select[Job, datetime, str | None]:
    """Select jobs as `snapshots` takes them, with the time and what holds each."""
    return select(Job, func.now(), CLOSED)


async def snapshots(
    driver: Reader, rows: Sequence[Row[Job, datetime, str | None]]
) -> list[Snapshot]:
    """Read what belongs to these jobs: two statements for all of them."""
    return await _whole(driver, [(job, now, gate) for job, now, gate in rows])


async def _whole(
    driver: Reader, found: Sequence[tuple[Job, datetime, str | None]]
) -> list[Snapshot]:
    begun = [job.id for job, _, _ in found if job.attempt]
    tried = await attempts.of(driver, begun) if begun else {}
    # A job that took another's image has one without an attempt.
    shown = [job.id for job, _, _ in found if job.attempt or job.status == "succeeded"]
    images = await images_of(driver, shown) if shown else {}
    return [
        Snapshot(job, tried.get(job.id, []), images.get(job.id, []), now, gate)
        for job, now, gate in found
    ]
