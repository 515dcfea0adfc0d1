"""`/v1/files`: pictures that a project keeps, to draw from them without sending them again."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import BYTES, FILE, FILE_DELETED, FILE_MADE, FILES
from api.contract.openapi.files import WITH_FILE
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.files import FileQuery
from api.dependencies.deps import FileId, Here, Reader, Reading, Tx, Writer
from api.dropin import uploads
from api.dropin.route import UploadRoute
from api.routes import downloads
from api.submitting import uploading
from models import ids
from models.images import files
from models.platform.jsonable import Json
from models.schema import File

router = APIRouter(prefix="/v1/files", tags=["files"], responses=REFUSALS, route_class=UploadRoute)


@router.post("", status_code=201, responses=FILE_MADE, openapi_extra=WITH_FILE)
async def create_file(request: Request, caller: Writer, here: Here) -> Response:
    """Keep a picture that comes along, or is fetched; the same bytes are the same file."""
    file, there = await uploading.take(request, here, caller, uploads.of(request))
    place = here.located(f"{router.prefix}/{ids.text(ids.FILE, file.id)}")
    return JsonAnswer(_shown(file), 200 if there else 201, {"location": place})


@router.get("", responses=FILES)
async def list_files(caller: Reader, query: Annotated[FileQuery, Query()], tx: Reading) -> Response:
    """List files, newest first."""
    found, more = await files.listing(tx, caller.project_id, query.before, query.limit)
    cursor = cursors.write(found[-1].id) if more else None
    page: Json = {"object": "list", "data": [_shown(each) for each in found], "has_more": more}
    return JsonAnswer(page | {"next_cursor": cursor})


@router.get("/{id}", responses=FILE)
async def get_file(caller: Reader, file_id: FileId, tx: Reading) -> Response:
    """Show a file."""
    return JsonAnswer(_shown(await files.find(tx, caller.project_id, file_id)))


@router.get("/{id}/content", response_class=StreamingResponse, responses=BYTES)
async def get_file_content(
    request: Request, caller: Reader, file_id: FileId, here: Here,
    range_: Annotated[str | None, Header(alias="range")] = None,
) -> Response:  # fmt: skip
    """Return a file's bytes, as they came."""
    async with here.turns.open(caller.project_id) as tx:
        file = await files.find(tx, caller.project_id, file_id)
    key = f"{caller.project_id}/{file.sha256}"
    named = downloads.named(ids.text(ids.FILE, file_id), file.content_type)
    return await downloads.send(request, here, key, file.sha256, named, range_)


@router.delete("/{id}", responses=FILE_DELETED)
async def delete_file(caller: Writer, file_id: FileId, tx: Tx) -> Response:
    """Delete a file; jobs that draw from it have its bytes, and go on."""
    await files.remove(tx, caller.project_id, file_id)
    return JsonAnswer({"id": ids.text(ids.FILE, file_id), "object": "file", "deleted": True})


def _shown(file: File) -> Json:
    named = ids.text(ids.FILE, file.id)
    ending = file.content_type.partition("/")[2]
    return {
        "id": named,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()),
        "filename": file.name or f"{named}.{ending}",
        "purpose": "vision",
        "status": "processed",
        "content_type": file.content_type,
        "width": file.width,
        "height": file.height,
        "sha256": file.sha256,
        "customer": file.customer,
    }
