"""`GET /v1/jobs/{id}/events`: a job's changes as Server-Sent Events, on the doorbell that long polls use.

The stream tells states, not steps: what changes twice before it is read is told once, as it is then. An
event's id names its state (the ETag), so `Last-Event-ID` resumes: the state that a client has is not
told again. The stream ends with the job, and when this process is told to stop: clients come back, and are
told 204 when they have all there will be.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic_core import to_json
from starlette.responses import StreamingResponse

from api.contract.documentation import REFUSALS, STREAM
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Here, JobId, Reader
from models.states import TERMINAL

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=REFUSALS, route_class=JsonRoute)

_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}


@router.get("/{id}/events", responses=STREAM, response_class=StreamingResponse)
async def stream_job(
    caller: Reader,
    job_id: JobId,
    here: Here,
    last_event_id: Annotated[str | None, Header(description="the last event that came")] = None,
) -> Response:
    """Stream a job: as it is, then at each change, until it has ended.

    204 to whoever has its last event: a browser's `EventSource` would else come back for ever.
    """
    found = await here.waiting.read(caller.project_id, job_id)
    if found.job.status in TERMINAL and found.etag == last_event_id:
        return Response(status_code=204)
    changes = here.waiting.changes(caller.project_id, job_id, last_event_id)
    told = (
        _write(each.etag, each.show(here.presenter)) if each else ":\n\n" async for each in changes
    )
    return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


def _write(etag: str, shown: dict[str, object]) -> str:
    """Write an event; JSON has no line breaks of its own."""
    return f"id: {etag}\nevent: job\ndata: {to_json(shown).decode()}\n\n"
