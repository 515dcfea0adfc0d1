"""The list of jobs as a file: a line for each job, in CSV."""

import json
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

from fastapi.responses import StreamingResponse

from api.contract.formats import spreadsheet
from api.dependencies.state import State
from models import ids
from models.jobs import Filter, view
from models.jobs.reading import exporting
from models.money.dollars import usd
from models.platform.jsonable import Json, time
from models.schema import Job

_EXPORT = 60.0  # seconds that each part of a file may wait for its turn
COLUMNS = (
    "id", "status", "created_at", "started_at", "finished_at", "erased_at", "model", "prompt",
    "customer", "tags", "metadata", "priority", "estimated", "charged", "charged_usd",
    "held", "cancel", "error", "error_message", "retried_from", "reused_from",
)  # fmt: skip


async def jobs_as_csv(here: State, project_id: UUID, filter_: Filter) -> StreamingResponse:
    """Answer with every job that the filter leaves, newest first; credits are integers, as everywhere."""
    return await spreadsheet.stream(COLUMNS, _rows(here, project_id, filter_), "jobs.csv")


async def _rows(here: State, project_id: UUID, filter_: Filter) -> AsyncIterator[list[Json]]:
    opened = partial(here.reports.open, project_id, _EXPORT)
    async for part in exporting.parts(opened, project_id, filter_):
        yield [_row(each) for each in part]


def _row(job: Job) -> Json:
    error = job.error or {}
    return {
        "id": ids.text(ids.JOB, job.id),
        "status": view.status(job),
        "created_at": time(job.created_at),
        "started_at": time(job.started_at),
        "finished_at": time(job.finished_at),
        "erased_at": time(job.erased_at),
        "model": job.model,
        "prompt": job.input.get("prompt"),
        "customer": job.customer,
        "tags": ", ".join(job.tags),
        "metadata": json.dumps(job.meta, ensure_ascii=False) if job.meta else "",
        "priority": job.priority,
        "estimated": job.estimate,
        "charged": job.charged,
        "charged_usd": usd(job.charged),
        "held": job.held,
        "cancel": job.cancel_outcome,
        "error": error.get("code"),
        "error_message": error.get("message"),
        "retried_from": _id(job.retried_from),
        "reused_from": _id(job.reused_from),
    }


def _id(job_id: UUID | None) -> str | None:
    return None if job_id is None else ids.text(ids.JOB, job_id)
