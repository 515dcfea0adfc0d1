"""Why a job waits, in words and numbers: what binds it now, its place, and when it may start.

Every query is bounded, so that an answer costs the same however long the backlog is.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select

from models import ids
from models.errors import NotFound
from models.jobs import attempts, view
from models.jobs.queue import binding, forecasting, occupancy
from models.jobs.queue.binding import Binding
from models.jobs.queue.occupancy import Occupancy
from models.platform import jsonable
from models.platform.db import Transaction
from models.platform.jsonable import Json
from models.schema import Job, Project
from models.settings import Settings

_ENDED = {
    "succeeded": "it succeeded",
    "failed": "it failed",
    "canceled": "it was canceled",
    "expired": "it expired",
}


async def explain(tx: Transaction, settings: Settings, project_id: UUID, job_id: UUID) -> Json:
    """Explain a job; raises `NotFound`, also for another project's."""
    stmt = select(Job, Project, func.now()).join(Project, Project.id == Job.project_id)
    own = (Job.id == job_id) & (Job.project_id == project_id)
    row = (await tx.execute(stmt.where(own))).one_or_none()
    if row is None:
        raise NotFound("There is no such job in this project.")
    job, project, now = row
    shown: Json = {
        "object": "explanation",
        "job_id": ids.text(ids.JOB, job.id),
        "status": view.status(job),
        "waiting_reason": None,
        "message": "",
        "binding": [],
        "position": None,
        "start_estimate": None,
        "no_estimate_because": None,
        "running": None,
    }
    if job.finished_at is not None:
        message = f"The job has ended: {_ENDED[job.status]} at {jsonable.time(job.finished_at)}."
        return shown | {"message": message, "no_estimate_because": "it has ended"}
    if job.status == "running":
        return shown | await _running(tx, settings, job)
    return shown | await _waiting(tx, settings, job, project, now)


async def _running(tx: Transaction, settings: Settings, job: Job) -> Json:
    begun = (await attempts.of(tx, [job.id]))[job.id]
    sent_at = next((each.sent_at for each in begun if each.number == job.attempt), job.started_at)
    since = jsonable.time(sent_at)
    typical = await forecasting.typical_seconds(tx) or settings.typical_call.total_seconds()
    message = f"Its call is under way since {since}; one takes about {typical:.0f} s at present."
    if job.phase == "keep":
        message = f"Its image is paid, and is being kept; the call began at {since}."
    return {
        "message": message,
        "running": {"since": since, "phase": job.phase, "typical_seconds": round(typical, 1)},
        "no_estimate_because": "it is running",
    }


async def _waiting(
    tx: Transaction, settings: Settings, job: Job, project: Project, now: datetime
) -> Json:
    await tx.execute(forecasting.PREPARE)
    around = await occupancy.of(tx, settings, job)
    in_line = job.status == "released" or job.run_after is not None
    due = in_line and (job.run_after is None or job.run_after <= now)
    parked = not in_line and job.waiting_reason == "concurrency_key"
    place = await forecasting.position(tx, job, parked=parked) if in_line or parked else None
    # The same order as in `waiting_reason`: what the job itself waits for, then what is closed to all.
    found = [] if due else await binding.own(tx, settings, job, project, around)
    closed = [*await binding.paused(tx, job), *await binding.gates(tx, job)]
    found += [*closed, *binding.crowd(job, project, around, place)]
    found = found or [Binding("queue", "Its turn has come: it begins at once.")]
    estimate, why = None, _why_nobody_knows(closed, around, in_line=in_line)
    if why is None and place is not None:
        free = around.free(project)
        estimate, why = await forecasting.start(tx, settings, job, now, place, free)
    reasons = [each.reason for each in found if each.reason != "workers"]
    return {
        "waiting_reason": reasons[0] if reasons else "queue",
        "message": " ".join(each.message for each in found),
        "binding": [each.show() for each in found],
        "position": None if place is None else place.show(),
        "start_estimate": estimate,
        "no_estimate_because": why,
    }


def _why_nobody_knows(closed: list[Binding], around: Occupancy, *, in_line: bool) -> str | None:
    if closed:
        return f"nobody knows when this ends: {closed[0].reason}"
    if not in_line:
        return "it waits for something other than its turn"
    return None if around.slots else "no worker that takes jobs was seen lately"
