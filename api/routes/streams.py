"""`GET /v1/jobs/{id}/events`: a job's changes as Server-Sent Events, on the doorbell that long polls use.

The stream tells states, not steps: what changes twice before it is read is told once, as it is then. An
event's id names its state (the ETag), so `Last-Event-ID` resumes: the state that a client has is not
told again. The stream ends with the job, and when this process is told to stop: clients come back, and are
told 204 when they have all there will be.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic_core import to_json
from starlette.responses import StreamingResponse

from api.contract.openapi.answers import STREAM, WATCHED
from api.contract.openapi.refusals import REFUSALS
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Here, JobId, Reader
from api.sharing.watching import Told
from models import ids
from models.jobs.reading.feed import Change
from models.platform.jsonable import time

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=REFUSALS, route_class=JsonRoute)
project = APIRouter(prefix="/v1", tags=["jobs"], responses=REFUSALS, route_class=JsonRoute)

_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}
_WATCHED = _HEADERS | {"content-type": "text/event-stream; charset=utf-8"}


@router.get("/{id}/events", responses=STREAM, response_class=StreamingResponse)
async def stream_job(
    caller: Reader,
    job_id: JobId,
    here: Here,
    last_event_id: Annotated[str | None, Header(description="the last event that came")] = None,
) -> Response:
    """Stream a job: as it is, then at each change, until it has ended.

    204 to a client that has its last event: a browser's `EventSource` would else come back for ever.
    """
    found = await here.readings.whole(caller.project_id, job_id)
    if found.over and found.etag == last_event_id:
        return Response(status_code=204)
    changes = here.waiting.changes(caller.project_id, job_id, last_event_id)
    told = (
        _write(each.etag, each.show(here.presenter)) if each else ":\n\n" async for each in changes
    )
    return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


@project.get("/events", responses=WATCHED, response_class=StreamingResponse)
async def stream_changes(
    request: Request,
    caller: Reader,
    here: Here,
    last_event_id: Annotated[str | None, Header(description="the last event that came")] = None,
) -> Response:
    """Stream what happens to the project's jobs, by their ids: accepted, started, ended, settled.

    It goes on with `Accept: text/event-stream`, as browsers send; else it ends with what there is.
    """
    seen = None if last_event_id is None else ids.parse(ids.EVENT, last_event_id)
    missed = await here.watching.missed(caller.project_id, seen)
    if "text/event-stream" not in request.headers.get("accept", ""):
        return Response("".join(map(_change, missed)), headers=_WATCHED)
    told = (_change(each) async for each in here.watching.changes(caller.project_id, seen))
    return StreamingResponse(told, headers=_WATCHED)


def _change(told: Told) -> str:
    match told:
        case Change():
            shown = {
                "type": told.type,
                "job": ids.text(ids.JOB, told.job_id),
                "at": time(told.at),
            }
            place = ids.text(ids.EVENT, told.id)
            return f"id: {place}\nevent: change\ndata: {to_json(shown).decode()}\n\n"
        case "skipped":
            return "event: skipped\ndata: {}\n\n"
        case _:
            return ":\n\n"


def _write(etag: str, shown: dict[str, object]) -> str:
    """Write an event; JSON has no line breaks of its own."""
    return f"id: {etag}\nevent: job\ndata: {to_json(shown).decode()}\n\n"
