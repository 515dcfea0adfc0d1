"""The event of a job's change, with the job as it then is, and its deliveries."""

from datetime import UTC, datetime

from models.images.records import images_of
from models.jobs import attempts, view
from models.jobs.changes import tallying
from models.jobs.view import Presenter
from models.platform.db.statements import Writer
from models.schema import Job
from models.states import TERMINAL_EVENTS, EventType
from models.webhooks import bodies, endpoints, events


async def announce(tx: Writer, presenter: Presenter, job: Job, type_: EventType) -> None:
    """Write the event of a change, and its deliveries; long polls are rung after the commit."""
    ends = type_ in TERMINAL_EVENTS
    now = job.finished_at if ends and job.finished_at is not None else datetime.now(UTC)
    if ends:
        tallying.ended(tx, job, now)
    made = (await attempts.of(tx, [job.id]))[job.id] if job.attempt else []
    # A job that took another's image has one without an attempt.
    shows = job.attempt or job.status == "succeeded"
    images = (await images_of(tx, [job.id]))[job.id] if shows else []
    shown = view.job(presenter, job, made, images, now)
    body = bodies.of_job(type_, shown, now)
    # A batch tells of itself, and of its rows only to their own URLs.
    quiet = job.custom_id is not None
    targets = [] if quiet else await endpoints.wanting(tx, job.project_id, type_)
    await events.announce(tx, job, type_, body, targets)
    ring(tx, job)


def ring(tx: Writer, job: Job) -> None:
    """Wake who waits for a job, and who counts its group, if it has one; batches are counted at a tick."""
    tx.ring("job", str(job.id))
    if job.batch_id is not None and job.custom_id is None:
        tx.ring("batches")
