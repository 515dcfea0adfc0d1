"""`/v1/jobs`: submit, read, list, cancel, retry."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from api import submission
from api.deps import Here, IdempotencyKey, JobId, Reader, Tx, Writer, documented
from api.documentation import ACCEPTED, JOB, PAGE, REFUSALS
from api.schemas import ListQuery, SubmitBody
from api.state import State
from models import ids, jobs
from models.errors import FieldError, InvalidRequest
from models.jobs import Filter, Snapshot
from models.states import TERMINAL

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=documented, responses=REFUSALS)

_POLL = timedelta(seconds=2)  # what `Retry-After` tells: an image takes about forty
_WAIT_MAX = 60


@router.post("", status_code=202, responses=ACCEPTED)
async def submit(
    body: SubmitBody, caller: Writer, key: IdempotencyKey, tx: Tx, here: Here
) -> Response:
    """Accept a job. The paid call is made later; poll, wait, or be called back."""
    name = submission.idempotency(caller, key, body)
    asked = await submission.check(here, caller, body)
    job, replayed = await jobs.submit(tx, caller, asked, idempotency=name)
    return _accepted(here, await jobs.snapshot(tx, caller.project_id, job.id), replayed=replayed)


@router.get("/{id}", responses=JOB)
async def read(
    job_id: JobId,
    caller: Reader,
    here: Here,
    wait: Annotated[int | None, Query(ge=0, le=_WAIT_MAX, description="seconds to hold")] = None,
    prefer: Annotated[str | None, Header(description="`wait=30` holds like `?wait=30`")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Show a job; with `wait`, as soon as it is terminal. 304 when the ETag still stands."""
    patience = _patience(wait, prefer)
    found = await here.waiting.terminal(caller.project_id, job_id, patience)
    headers = _headers(found) | (
        {"preference-applied": f"wait={patience.seconds}"} if prefer else {}
    )
    if if_none_match is not None and found.etag in [t.strip() for t in if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    return JSONResponse(found.show(here.lens, await _inline(here, found)), headers=headers)


@router.get("", responses=PAGE)
async def read_many(
    request: Request, query: Annotated[ListQuery, Query()], caller: Reader, tx: Tx, here: Here
) -> Response:
    """List jobs, newest first."""
    found, more = await jobs.listing(tx, caller.project_id, _filter(request, query), query.limit)
    cursor = _cursor(found[-1].job.id) if more else None
    page = {"object": "list", "data": [each.show(here.lens) for each in found]}
    return JSONResponse(page | {"has_more": more, "next_cursor": cursor})


@router.post("/{id}/cancel", responses=JOB)
async def cancel(job_id: JobId, caller: Writer, tx: Tx, here: Here) -> Response:
    """Cancel a job: at once, or after the paid call that is under way, which is never aborted."""
    await jobs.cancel(tx, here.lens, caller.project_id, job_id)
    found = await jobs.snapshot(tx, caller.project_id, job_id)
    return JSONResponse(found.show(here.lens), headers=_headers(found))


@router.post("/{id}/retry", status_code=202, responses=ACCEPTED)
async def retry(job_id: JobId, caller: Writer, key: IdempotencyKey, tx: Tx, here: Here) -> Response:
    """Accept a new job with the input of a finished one."""
    job, replayed = await jobs.retry(tx, caller, job_id, idempotency_key=key)
    return _accepted(here, await jobs.snapshot(tx, caller.project_id, job.id), replayed=replayed)


def _accepted(here: State, found: Snapshot, *, replayed: bool) -> Response:
    headers = _headers(found) | {"location": f"/v1/jobs/{ids.text(ids.JOB, found.job.id)}"}
    if replayed:
        headers["idempotent-replayed"] = "true"
    here.log_accepted(found.job, replayed=replayed)
    return JSONResponse(found.show(here.lens), 202, headers)


def _headers(found: Snapshot) -> dict[str, str]:
    headers = {"etag": found.etag, "cache-control": "private, no-cache"}
    if found.job.status not in TERMINAL:
        headers["retry-after"] = str(_POLL.seconds)
    return headers


def _patience(wait: int | None, prefer: str | None) -> timedelta:
    """Read how long to hold: `?wait=` first, then `Prefer: wait=` (RFC 7240), at most a minute."""
    if wait is not None:
        return timedelta(seconds=wait)
    for preference in (prefer or "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.isdigit():
            return timedelta(seconds=min(int(value[:3]), _WAIT_MAX))
    return timedelta(0)


async def _inline(here: State, found: Snapshot) -> bytes | None:
    """Read the image's bytes when the caller asked for `b64_json`."""
    if found.image is None or found.job.input.get("response_format") != "b64_json":
        return None
    return await here.store.read(f"{found.job.project_id}/{found.image.sha256}")


def _filter(request: Request, query: ListQuery) -> Filter:
    metadata = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    before = None if query.cursor is None else _read_cursor(query.cursor)
    filters = query.model_dump(exclude={"limit", "cursor"})
    return Filter(**filters, metadata=metadata, before=before)


def _cursor(last: UUID) -> str:
    return urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _read_cursor(cursor: str) -> UUID:
    try:
        return UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except ValueError:
        message = "use `next_cursor` of the page before, as it came"
        raise InvalidRequest(
            f"The cursor {cursor!r} is none of ours: {message}.",
            errors=(FieldError("query:cursor", message),),
        ) from None
