"""`/v1/jobs`: submit, read, list, explain, cancel, retry, erase."""

from contextlib import suppress
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from api.contract.formats import cursors, spreadsheet
from api.contract.formats.answers import JsonAnswer
from api.contract.formats.etags import matches
from api.contract.openapi.answers import (
    ACCEPTED,
    ERASED,
    EXPLANATION,
    JOB,
    JOBS,
    POLLED,
    SUBMITTED,
)
from api.contract.openapi.parameters import WITH_KEY, WITH_METADATA, WITH_POLL
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.filters import ListQuery
from api.contract.requests.jobs import RetryBody, SubmitBody
from api.dependencies.bodies import JsonRoute, let_go
from api.dependencies.deps import Here, JobId, Reader, Reading, Tx, Writer, idempotency_key
from api.dependencies.holding import patience_of
from api.dependencies.state import State, state_of
from api.routes import sheets, standings
from api.submitting import groups, retries, submission
from models import ids, jobs
from models.errors import FieldError, InvalidRequest, Unavailable
from models.images.store_errors import Missing
from models.jobs import Snapshot
from models.jobs.batches import Standing
from models.platform.jsonable import Json

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    responses=REFUSALS,
    route_class=JsonRoute,
)

_POLL = timedelta(seconds=2)  # what `Retry-After` tells: an image takes about forty
_AS_IT_WAS = RetryBody()


@router.post("", status_code=202, responses=SUBMITTED, openapi_extra=WITH_KEY)
async def submit_job(request: Request, caller: Writer, body: SubmitBody) -> Response:
    """Accept a job, or with `n` a group. The paid calls are made later; poll, wait, or be called back.

    With `wait` the answer is the finished job and 200, or 202 and the job as it is when the time is over.
    """
    held, key = patience_of(request), idempotency_key(request)
    if body.n is not None:
        group = await groups.take(state_of(request), caller, body, body.n, key)
        return await _grouped(request, *group, *held)
    made = await submission.take(state_of(request), caller, body, key)
    return await _accepted(request, *made, *held)


@router.get("/{id}", responses=POLLED, openapi_extra=WITH_POLL)
async def get_job(request: Request, caller: Reader, job_id: JobId) -> Response:
    """Show a job; with `wait`, answer as soon as it is terminal. 304 when the ETag still matches."""
    here, if_none_match = state_of(request), request.headers.get("if-none-match")
    patience, applied = patience_of(request)
    waiting, project_id = here.waiting, caller.project_id
    found = await waiting.terminal(request, project_id, job_id, patience, if_none_match)
    headers = _headers(found) | applied
    if matches(if_none_match, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return JsonAnswer(found.show(here.presenter, await _inline(here, found)), headers=headers)


@router.get("", responses=JOBS, openapi_extra=WITH_METADATA)
async def list_jobs(
    request: Request, query: Annotated[ListQuery, Query()], caller: Reader, here: Here,
    accept: Annotated[str, Header(description="with `text/csv` the answer is a file of every job")] = "",
) -> Response:  # fmt: skip
    """List jobs, newest first."""
    before = None if query.cursor is None else cursors.read(query.cursor)
    filter_ = query.filter(_metadata(request), before)
    if spreadsheet.wanted(query.format, accept):
        return await sheets.jobs_as_csv(here, caller.project_id, filter_)
    async with here.reports.open(caller.project_id) as tx:
        found, last = await jobs.page(tx, caller.project_id, filter_, query.limit)
    cursor = None if last is None else cursors.write(last)
    page: Json = {"object": "list", "data": [each.show(here.presenter) for each in found]}
    page |= {"has_more": last is not None, "next_cursor": cursor}
    return JsonAnswer(page, headers={"vary": "Accept"})


@router.get("/{id}/explain", responses=EXPLANATION)
async def explain_job(caller: Reader, job_id: JobId, tx: Reading, here: Here) -> Response:
    """Explain why a job waits: every limit that binds it now, its place, and when it may start."""
    found = await jobs.explain(tx, here.settings, caller.project_id, job_id)
    return JsonAnswer(found, headers={"cache-control": "private, no-store"})


@router.post("/{id}/cancel", responses=JOB)
async def cancel_job(caller: Writer, job_id: JobId, tx: Tx, here: Here) -> Response:
    """Cancel a job: at once, or after the paid call that is under way, which is never aborted."""
    await jobs.cancel(tx, here.presenter, caller.project_id, job_id)
    found = await jobs.read(tx, caller.project_id, job_id)
    return JsonAnswer(found.show(here.presenter), headers=_headers(found))


@router.post("/{id}/retry", status_code=202, responses=ACCEPTED, openapi_extra=WITH_KEY)
async def retry_job(
    request: Request, caller: Writer, job_id: JobId, body: RetryBody = _AS_IT_WAS
) -> Response:
    """Create a job with the input of a finished one, and with the changes in the body."""
    held, key = patience_of(request), idempotency_key(request)
    made = await retries.take(state_of(request), caller, job_id, body, key)
    return await _accepted(request, *made, *held)


@router.delete("/{id}", status_code=204, responses=ERASED)
async def erase_job(caller: Writer, job_id: JobId, tx: Tx) -> Response:
    """Erase a finished job's input and images. Ids, charges and times stay, and so does the ledger."""
    await jobs.erase(tx, caller.project_id, job_id)
    return Response(status_code=204)


async def _accepted(
    request: Request,
    found: Snapshot,
    replayed: bool,  # noqa: FBT001 - as `take` returns it
    patience: timedelta,
    applied: dict[str, str],
) -> Response:
    here, job = state_of(request), found.job
    if not replayed and job.status == "queued":
        here.queues.accepted(job.project_id)
    if patience:
        # The job is there: an absent database now is no reason to let anybody submit it again.
        let_go(request)
        with suppress(Unavailable):
            found = await here.waiting.terminal(request, job.project_id, job.id, patience)
    location = here.located(f"/v1/jobs/{ids.text(ids.JOB, job.id)}")
    headers = _headers(found) | {"location": location} | applied
    if replayed:
        headers["idempotent-replayed"] = "true"
    if patience and found.over:
        return JsonAnswer(found.show(here.presenter, await _inline(here, found)), 200, headers)
    return JsonAnswer(found.show(here.presenter), 202, headers)


async def _grouped(
    request: Request,
    found: Standing,
    replayed: bool,  # noqa: FBT001 - as `take` gives it
    patience: timedelta,
    applied: dict[str, str],
) -> Response:
    here, batch = state_of(request), found.batch
    if patience:
        let_go(request)
        with suppress(Unavailable):
            found = await here.waiting.batch(request, batch.project_id, batch.id, patience)
    status = 200 if patience and found.over else 202
    return standings.taken(here, found, replayed=replayed, status=status, headers=applied)


def _headers(found: Snapshot) -> dict[str, str]:
    headers = {"etag": found.etag, "cache-control": "private, no-cache"}
    if not found.over:
        headers["retry-after"] = str(_POLL.seconds)
    return headers


async def _inline(here: State, found: Snapshot) -> bytes | None:
    """Read the image's bytes when the caller asked for `b64_json`."""
    if found.image is None or found.job.input.get("response_format") != "b64_json":
        return None
    if found.image.removed_at is not None:
        return None
    with suppress(Missing):  # its retention has ended; the job is still told
        return await here.store.read(f"{found.job.project_id}/{found.image.sha256}")
    return None


def _metadata(request: Request) -> dict[str, str]:
    """Read `metadata[key]=value`. Raises `InvalidRequest` for a NUL, which Postgres cannot compare with."""
    metadata = {}
    for name, value in request.query_params.items():
        if name.startswith("metadata[") and name.endswith("]"):
            if "\0" in name + value:
                raise _wrong(name, "it has a NUL, which no job's metadata has")
            metadata[name.removeprefix("metadata[").removesuffix("]")] = value
    return metadata


def _wrong(name: str, message: str) -> InvalidRequest:
    return InvalidRequest(
        f"The jobs cannot be listed so: {message}.", errors=(FieldError(f"query:{name}", message),)
    )
