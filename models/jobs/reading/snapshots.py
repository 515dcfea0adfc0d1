"""Reading jobs: one with all that belongs to it, or a page of many."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, Uuid, cast, column, func, or_, select

from models.errors import NotFound
from models.images.records import images_of
from models.jobs import attempts, view
from models.jobs.reading.filtering import CLOSED, Filter, narrow, within
from models.jobs.view import Presenter
from models.platform.db import Transaction, statements
from models.platform.db.statements import Reader, Statement, attributes, given, loaded, prepared
from models.platform.jsonable import Json
from models.schema import Attempt, Image, Job
from models.states import TERMINAL

Asked = tuple[UUID | None, UUID]  # a job, and of which project; None is any


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job and what belongs to it, as they were at `now` by the database's clock."""

    job: Job
    attempts: Sequence[Attempt]
    images: Sequence[Image]
    now: datetime
    closed_gate: str | None

    @property
    def over(self) -> bool:
        """Whether nothing changes any more, but for what lost calls cost."""
        return self.job.status in TERMINAL

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
    return demanded((await read_several(driver, [(project_id, job_id)])).get((project_id, job_id)))


async def read_several(driver: Reader, asked: Sequence[Asked]) -> dict[Asked, Snapshot]:
    """Read jobs as `read` does; those that are not there are left out."""
    rows = await driver.read(_READ, _places(asked))
    places = [(row.pop("asked_of"), row["id"]) for row in rows]
    return dict(zip(places, await _whole(driver, [_told(row) for row in rows]), strict=True))


async def read_versions(driver: Reader, asked: Sequence[Asked]) -> dict[Asked, Snapshot]:
    """Read only as much of jobs as their ETags tell; those that are not there are left out."""
    rows = await driver.read(_READ_VERSIONS, _places(asked))
    return {(row.pop("asked_of"), row["id"]): _version(row) for row in rows}


def demanded(found: Snapshot | None) -> Snapshot:
    """Return what was found, or raise `NotFound`."""
    if found is None:
        raise NotFound("There is no such job in this project.")
    return found


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


def _places(asked: Sequence[Asked]) -> dict[str, object]:
    return {"projects": [project for project, _ in asked], "jobs": [job for _, job in asked]}


def _told(row: statements.Row) -> tuple[Job, datetime, str | None]:
    now, gate = row.pop("now"), row.pop("gate")
    return loaded(Job, row), now, gate


def _version(row: statements.Row) -> Snapshot:
    job, now, gate = _told(row)
    return Snapshot(job, (), (), now, gate)


def _reading(names: Collection[str]) -> Statement:
    """Write the statement that reads these attributes of the jobs asked for, and who asked."""
    asked = (
        func.unnest(
            *(cast(given(name, ARRAY(Uuid())), ARRAY(Uuid())) for name in ("projects", "jobs"))
        )
        .table_valued(column("project_id", Uuid()), column("job_id", Uuid()))
        .render_derived("asked")
    )
    return prepared(
        select(
            *(each for each in attributes(Job) if each.key in names),
            asked.c.project_id.label("asked_of"),
            func.now().label("now"),
            CLOSED.label("gate"),
        )
        .join(asked, Job.id == asked.c.job_id)
        .where(or_(Job.project_id == asked.c.project_id, asked.c.project_id.is_(None)))
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
_READ, _READ_VERSIONS = _reading({*_TOLD, *_SHOWN}), _reading({"id", *_TOLD})


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
