"""The event of a job's change, with the job as it then is, and its deliveries."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select

from models.jobs import attempts, tallying, view
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.schema import Image, Job
from models.states import TERMINAL_EVENTS, EventType
from models.webhooks import bodies, endpoints, events


async def announce(tx: Transaction, presenter: Presenter, job: Job, type_: EventType) -> None:
    """Write the event of a change, and its deliveries; long polls are rung after the commit."""
    ends = type_ in TERMINAL_EVENTS
    now = job.finished_at if ends and job.finished_at is not None else datetime.now(UTC)
    if ends:
        tallying.ended(tx, job, now)
    made = (await attempts.of(tx, [job.id]))[job.id]
    images = (await images_of(tx, [job.id]))[job.id]
    shown = view.job(presenter, job, made, images, now)
    body = bodies.of_job(type_, shown, now)
    targets = await endpoints.wanting(tx, job.project_id, type_)
    await events.announce(tx, job, type_, body, targets)
    tx.ring("job", str(job.id))


async def images_of(tx: Transaction, job_ids: list[UUID]) -> dict[UUID, list[Image]]:
    """Return the kept images of these jobs; late images too."""
    found: dict[UUID, list[Image]] = {job_id: [] for job_id in job_ids}
    for image in await tx.scalars(select(Image).where(Image.job_id.in_(job_ids))):
        found[image.job_id].append(image)
    return found


async def lock(tx: Transaction, job_id: UUID) -> Job:
    """Lock the job's row: always the first of a job's rows that a transaction locks."""
    row = await tx.scalars(
        select(Job).where(Job.id == job_id).with_for_update(key_share=True),
    )
    return row.one()
