"""`/v1/jobs`: submit, read, list, explain, cancel, retry, erase."""

import re
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api import cursors, submission
from api.answers import Answer
from api.bodies import JsonRoute
from api.deps import Here, JobId, Reader, Tx, Writer, idempotency_key
from api.documentation import (
    ACCEPTED,
    ERASED,
    EXPLANATION,
    JOB,
    JOBS,
    POLLED,
    REFUSALS,
    WAIT_MAX,
    WITH_KEY,
    WITH_POLL,
)
from api.etags import matches
from api.schemas import ListQuery, SubmitBody
from api.state import State, state_of
from models import ids, jobs
from models.errors import FieldError, InvalidRequest
from models.jobs import Filter, Snapshot
from models.states import TERMINAL
from models.storage import Missing
from models.wording import shown

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    responses=REFUSALS,
    route_class=JsonRoute,
)

_POLL = timedelta(seconds=2)  # what `Retry-After` tells: an image takes about forty
_WAIT = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r'\s*"?([0-9]{1,9})"?\s*')


@router.post("", status_code=202, responses=ACCEPTED, openapi_extra=WITH_KEY)
async def submit(request: Request, caller: Writer, body: SubmitBody) -> Response:
    """Accept a job. The paid call is made later; poll, wait, or be called back."""
    here, key = state_of(request), idempotency_key(request)
    asked, inline = await submission.check(here, caller, body)
    name = await submission.idempotency(caller, key, body)
    full = await here.queues.full(caller.project_id)
    await submission.keep(here, caller, inline, name, full=full)
    found, replayed = await submission.accept(here, caller, asked, name, full=full)
    return _accepted(here, found, replayed=replayed)


@router.get("/{id}", responses=POLLED, openapi_extra=WITH_POLL)
async def read(request: Request, caller: Reader, job_id: JobId) -> Response:
    """Show a job; with `wait`, as soon as it is terminal. 304 when the ETag still stands."""
    here, if_none_match = state_of(request), request.headers.get("if-none-match")
    patience, applied = _patience(request)
    waiting, project_id = here.waiting, caller.project_id
    found = await waiting.terminal(request, project_id, job_id, patience, if_none_match)
    headers = _headers(found) | applied
    if matches(if_none_match, found.etag):
        return Response(status_code=304, headers=headers)
    return Answer(found.show(here.lens, await _inline(here, found)), headers=headers)


@router.get("", responses=JOBS)
async def read_many(
    request: Request, query: Annotated[ListQuery, Query()], caller: Reader, tx: Tx, here: Here
) -> Response:
    """List jobs, newest first."""
    found, more = await jobs.listing(tx, caller.project_id, _filter(request, query), query.limit)
    cursor = cursors.write(found[-1].job.id) if more else None
    page = {"object": "list", "data": [each.show(here.lens) for each in found]}
    return Answer(page | {"has_more": more, "next_cursor": cursor})


@router.get("/{id}/explain", responses=EXPLANATION)
async def explain(caller: Reader, job_id: JobId, tx: Tx, here: Here) -> Response:
    """Say why a job waits: every limit that binds it now, its place, and when it may start."""
    found = await jobs.explain(tx, here.settings, caller.project_id, job_id)
    return Answer(found, headers={"cache-control": "private, no-store"})


@router.post("/{id}/cancel", responses=JOB)
async def cancel(caller: Writer, job_id: JobId, tx: Tx, here: Here) -> Response:
    """Cancel a job: at once, or after the paid call that is under way, which is never aborted."""
    await jobs.cancel(tx, here.lens, caller.project_id, job_id)
    found = await jobs.snapshot(tx, caller.project_id, job_id)
    return Answer(found.show(here.lens), headers=_headers(found))


@router.post("/{id}/retry", status_code=202, responses=ACCEPTED, openapi_extra=WITH_KEY)
async def retry(request: Request, caller: Writer, job_id: JobId, tx: Tx, here: Here) -> Response:
    """Accept a new job with the input of a finished one."""
    key = idempotency_key(request)
    submission.demand_key(caller, key)
    full = await here.queues.full(caller.project_id)
    again = jobs.retry(tx, here.lens, caller, job_id, idempotency_key=key, full=full)
    job, replayed = await again
    return _accepted(here, await jobs.snapshot(tx, caller.project_id, job.id), replayed=replayed)


@router.delete("/{id}", status_code=204, responses=ERASED)
async def erase(caller: Writer, job_id: JobId, tx: Tx) -> Response:
    """Erase a finished job's input and images. Ids, charges and times stay, and so does the ledger."""
    await jobs.erase(tx, caller.project_id, job_id)
    return Response(status_code=204)


def _accepted(here: State, found: Snapshot, *, replayed: bool) -> Response:
    headers = _headers(found) | {"location": f"/v1/jobs/{ids.text(ids.JOB, found.job.id)}"}
    if replayed:
        headers["idempotent-replayed"] = "true"
    elif found.job.status == "queued":
        here.queues.accepted(found.job.project_id)
    here.log_accepted(found.job, replayed=replayed)
    return Answer(found.show(here.lens), 202, headers)


def _headers(found: Snapshot) -> dict[str, str]:
    headers = {"etag": found.etag, "cache-control": "private, no-cache"}
    if found.job.status not in TERMINAL:
        headers["retry-after"] = str(_POLL.seconds)
    return headers


def _patience(request: Request) -> tuple[timedelta, dict[str, str]]:
    """Read how long to hold a client: `wait`, or what it prefers; with the header that says so.

    Documented by `WITH_POLL`. Raises `InvalidRequest` for a `wait` that is none.
    """
    wait = request.query_params.get("wait")
    if wait is None:
        preferred = _preferred(request.headers.get("prefer"))
        applied = {} if preferred is None else {"preference-applied": f"wait={preferred}"}
        return timedelta(seconds=preferred or 0), applied
    if not _WAIT.fullmatch(wait) or int(wait) > WAIT_MAX:
        message = f"{shown(wait)}: send whole seconds, from 0 to {WAIT_MAX}"
        raise InvalidRequest(
            f"A client cannot be held so: {message}.", errors=(FieldError("query:wait", message),)
        )
    return timedelta(seconds=int(wait)), {}


def _preferred(prefer: str | None) -> int | None:
    """Read the seconds of `Prefer: wait=` (RFC 7240, 4.3), at most a minute; None without one."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = _SECONDS.fullmatch(value)
        if name.strip().lower() == "wait" and seconds is not None:
            return min(int(seconds[1]), WAIT_MAX)
    return None


async def _inline(here: State, found: Snapshot) -> bytes | None:
    """Read the image's bytes when the caller asked for `b64_json`."""
    if found.image is None or found.job.input.get("response_format") != "b64_json":
        return None
    if found.image.removed_at is not None:
        return None
    with suppress(Missing):  # its retention has ended; the job is still told
        return await here.store.read(f"{found.job.project_id}/{found.image.sha256}")
    return None


def _filter(request: Request, query: ListQuery) -> Filter:
    """Read the filters. Raises `InvalidRequest`, also for a name that is none: it would filter nothing."""
    metadata = {}
    for name, value in request.query_params.items():
        if name.startswith("metadata[") and name.endswith("]"):
            if "\0" in name + value:  # Postgres cannot even compare with it
                raise _wrong(name, "it has a NUL, which no job's metadata has")
            metadata[name.removeprefix("metadata[").removesuffix("]")] = value
        elif name not in ListQuery.model_fields:
            raise _wrong(name, "there is no such parameter; remove it, or correct its name")
    before = None if query.cursor is None else cursors.read(query.cursor)
    filters = query.model_dump(exclude={"limit", "cursor"})
    return Filter(**filters, metadata=metadata, before=before)


def _wrong(name: str, message: str) -> InvalidRequest:
    return InvalidRequest(
        f"The jobs cannot be listed so: {message}.", errors=(FieldError(f"query:{name}", message),)
    )
