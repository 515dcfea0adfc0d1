"""`/v1/batches`: many jobs as one request: taken whole, watched by one number, with one file of results."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from api.batching import results, taking
from api.batching.spooling import StreamedRoute
from api.batching.taking import Taken
from api.contract.formats import cursors, spreadsheet
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import (
    BATCH,
    BATCH_ITEMS,
    BATCH_MADE,
    BATCH_RESULTS,
    BATCH_STREAM,
    BATCH_TAKEN,
    BATCHES,
    JOB,
)
from api.contract.openapi.parameters import KEYED, WITH_BATCH, WITH_HOLD
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.batches import (
    BatchChanges,
    BatchListQuery,
    BatchQuery,
    BatchRetry,
    ItemsQuery,
    ResultsQuery,
    RowName,
)
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import BatchId, Here, Reader, Reading, Tx, Writer, idempotency_key
from api.dependencies.holding import patience_of
from api.dependencies.state import State, state_of
from api.routes import standings
from models.errors import NotFound
from models.jobs import batches
from models.jobs.batches import Standing
from models.money.dollars import usd
from models.platform.jsonable import Json

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], responses=REFUSALS, route_class=JsonRoute
)
intake = APIRouter(
    prefix="/v1/batches", tags=["batches"], responses=REFUSALS, route_class=StreamedRoute
)

_ZIP = "application/zip"
_AS_USUAL, _ASKED = BatchRetry(), BatchQuery()
_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}


@intake.post("", status_code=202, responses=BATCH_TAKEN, openapi_extra=WITH_BATCH)
async def submit_batch(
    request: Request, caller: Writer, query: Annotated[BatchQuery, Query()], here: Here
) -> Response:
    """Accept up to 50,000 rows as one batch: each is judged first, and one decision holds the money."""
    taken = await taking.take(request, here, caller, query, idempotency_key(request))
    return _taken(here, query, taken)


@router.get("", responses=BATCHES)
async def list_batches(
    caller: Reader, query: Annotated[BatchListQuery, Query()], tx: Reading, here: Here
) -> Response:
    """List batches, newest first."""
    before = None if query.cursor is None else cursors.read(query.cursor)
    found, more = await batches.listing(
        tx, caller.project_id, query.limit, status=query.status, before=before
    )
    cursor = cursors.write(found[-1].batch.id) if more else None
    page: Json = {"object": "list", "data": [batches.show(here.presenter, each) for each in found]}
    return JsonAnswer(page | {"has_more": more, "next_cursor": cursor})


@router.get("/{id}", responses=BATCH, openapi_extra=WITH_HOLD)
async def get_batch(request: Request, caller: Reader, batch_id: BatchId) -> Response:
    """Show a batch or a group; with `wait`, as soon as it is over."""
    patience, applied = patience_of(request)
    here = state_of(request)
    found = await here.waiting.batch(request, caller.project_id, batch_id, patience)
    return standings.shown(here, found, headers=applied)


@router.get("/{id}/events", responses=BATCH_STREAM, response_class=StreamingResponse)
async def stream_batch(
    caller: Reader,
    batch_id: BatchId,
    here: Here,
    last_event_id: Annotated[str | None, Header(description="the last event that came")] = None,
) -> Response:
    """Stream a batch or a group: as it is, then at each change, until it is over.

    204 to whoever has its last event: a browser's `EventSource` would else come back for ever.
    """
    found = await here.waiting.read_batch(caller.project_id, batch_id)
    if found.over and found.etag == last_event_id:
        return Response(status_code=204)
    changes = here.waiting.batch_changes(caller.project_id, batch_id, last_event_id)
    told = (_event(here, each) if each else ":\n\n" async for each in changes)
    return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


@router.get("/{id}/items", responses=BATCH_ITEMS)
async def list_items(
    caller: Reader,
    batch_id: BatchId,
    query: Annotated[ItemsQuery, Query()],
    tx: Reading,
    here: Here,
) -> Response:
    """List the rows of a batch as jobs, in the order in which they came."""
    await batches.find(tx, caller.project_id, batch_id)
    after = int(query.cursor or 0)
    found, more = await batches.items(tx, batch_id, query.limit, status=query.status, after=after)
    cursor = str(found[-1].job.batch_row) if more else None
    page: Json = {"object": "list", "data": [each.show(here.presenter) for each in found]}
    return JsonAnswer(page | {"has_more": more, "next_cursor": cursor})


@router.get("/{id}/items/{custom_id:path}", responses=JOB)
async def get_item(
    caller: Reader,
    batch_id: BatchId,
    custom_id: Annotated[RowName, Path(max_length=512)],
    tx: Reading,
    here: Here,
) -> Response:
    """Show the row of this name, which may have slashes in it, as a job."""
    await batches.find(tx, caller.project_id, batch_id)
    try:
        found = await batches.item(tx, batch_id, custom_id)
    except NotFound:
        if custom_id.endswith("/") or not custom_id:
            raise HTTPException(404) from None  # as of any path with a slash at its end
        raise
    return JsonAnswer(found.show(here.presenter), headers={"etag": found.etag})


@router.get("/{id}/results", responses=BATCH_RESULTS, response_class=StreamingResponse)
async def get_results(
    request: Request,
    caller: Reader,
    batch_id: BatchId,
    query: Annotated[ResultsQuery, Query()],
    here: Here,
) -> Response:
    """Send the result of every row, in the order in which they came; also while the batch runs."""
    await here.waiting.read_batch(caller.project_id, batch_id)
    accept = request.headers.get("accept", "")
    match query.format or spreadsheet.preferred(accept, "text/csv", _ZIP):
        case "csv" | "text/csv":
            rows = results.table(here, caller, batch_id)
            return await spreadsheet.stream(results.COLUMNS, rows, "results.csv")
        case "zip" | "application/zip":
            return _file(results.archive(here, caller, batch_id), _ZIP, "images.zip")
        case _:
            kind = "application/x-ndjson"
            return _file(results.lines(here, caller, batch_id), kind, "results.ndjson")


@router.post("/{id}/pause", responses=BATCH)
async def pause_batch(caller: Writer, batch_id: BatchId, tx: Tx, here: Here) -> Response:
    """Pause a batch: no other row begins, and calls under way end."""
    paused = await batches.pause(tx, here.presenter, caller.project_id, batch_id)
    return standings.shown(here, paused)


@router.post("/{id}/resume", responses=BATCH)
async def resume_batch(caller: Writer, batch_id: BatchId, tx: Tx, here: Here) -> Response:
    """Resume a paused batch, whatever paused it."""
    return standings.shown(here, await batches.resume(tx, caller.project_id, batch_id))


@router.post("/{id}/cancel", responses=BATCH)
async def cancel_batch(caller: Writer, batch_id: BatchId, tx: Tx, here: Here) -> Response:
    """Cancel every row that has not begun; a paid call that is under way is never aborted."""
    canceled = await batches.cancel(tx, here.presenter, caller.project_id, batch_id)
    return standings.shown(here, canceled)


@router.post("/{id}/retry", status_code=202, responses=BATCH_MADE, openapi_extra=KEYED)
async def retry_batch(
    request: Request,
    caller: Writer,
    batch_id: BatchId,
    here: Here,
    body: BatchRetry = _AS_USUAL,
) -> Response:
    """Accept a new batch of the rows that failed or expired, with the same names."""
    key = idempotency_key(request)
    return _taken(here, _ASKED, await taking.retake(here, caller, batch_id, body, key))


@router.patch("/{id}", responses=BATCH)
async def change_batch(
    caller: Writer, batch_id: BatchId, body: BatchChanges, tx: Tx, here: Here
) -> Response:
    """Change what a batch may cost, or its priority."""
    changes = body.model_dump(exclude_unset=True)
    return standings.shown(here, await batches.alter(tx, caller.project_id, batch_id, changes))


def _taken(here: State, query: BatchQuery, taken: Taken) -> Response:
    report, errors = taken.report, [each.told for each in taken.report.errors]
    if taken.standing is not None:
        beside: Json = {"errors": errors}
        return standings.taken(here, taken.standing, replayed=taken.replayed, beside=beside)
    held = sum(report.held.values())
    credits_ = {"estimated": report.estimated, "held": held}
    return JsonAnswer(
        {
            "object": "batch_quote",
            "total": report.total,
            "invalid": report.bad,
            **credits_,
            "usd": {name: usd(each) for name, each in credits_.items()},
            "max_cost": query.max_cost if query.max_cost is not None else report.head.max_cost,
            "errors": errors,
        }
    )


def _event(here: State, found: Standing) -> str:
    """Write an event; JSON has no line breaks of its own."""
    told = to_json(batches.show(here.presenter, found)).decode()
    return f"id: {found.etag}\nevent: {found.batch.kind}\ndata: {told}\n\n"


def _file(told: AsyncIterator[bytes], kind: str, name: str) -> Response:
    headers = {
        **_HEADERS,
        "content-disposition": f'attachment; filename="{name}"',
        "vary": "Accept",
    }
    return StreamingResponse(told, media_type=kind, headers=headers)
