"""Charges that are unknown, as an operator sees them; `jobs.resolve_by_hand` resolves one."""

from uuid import UUID

from sqlalchemy import select, text

from models import ids
from models.jobs import view
from models.money.dollars import usd
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.schema import Attempt, Job
from models.states import unknown_charge


async def page(tx: Transaction, before: UUID | None, limit: int) -> tuple[list[Json], UUID | None]:
    """Return a page of attempts whose charge is unknown, newest first; those under way are left out.

    And the last one's id, if there are more.
    """
    rows = (
        select(Attempt, Job.project_id, Job.model)
        .join(Job, Job.id == Attempt.job_id)
        .where(text(unknown_charge()))
    )
    if before is not None:
        rows = rows.where(Attempt.id < before)
    found = (await tx.execute(rows.order_by(Attempt.id.desc()).limit(limit + 1))).all()
    shown = [_show(row[0], row[1], row[2]) for row in found[:limit]]
    return shown, found[limit - 1][0].id if len(found) > limit else None


def show_resolved(attempt: Attempt, job: Job) -> Json:
    """Return what an attempt cost after all, and how its job stands since."""
    return {
        "object": "resolved_charge",
        "attempt": attempt.client_request_id,
        "charge": attempt.charge,
        "credits": attempt.credits,
        "job_id": ids.text(ids.JOB, job.id),
        "job_status": view.status(job),
    }


def _show(attempt: Attempt, project_id: UUID, model: str) -> Json:
    return {
        "attempt": attempt.client_request_id,
        "object": "unknown_charge",
        "job_id": ids.text(ids.JOB, attempt.job_id),
        "project_id": ids.text(ids.PROJECT, project_id),
        "model": model,
        "sent_at": time(attempt.sent_at),
        "outcome": attempt.outcome,
        "error": attempt.error,
        "http_status": attempt.http_status,
        "inference_id": attempt.inference_id,
        "held": {"credits": attempt.hold, "usd": usd(attempt.hold)},
    }
