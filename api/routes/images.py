"""`/v1/jobs/{id}/images/{n}`: the kept bytes, by key or by signed URL, whole or in part."""

import re
import time
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.contract.formats.answers import JsonAnswer
from api.contract.formats.etags import matches
from api.contract.openapi.answers import BYTES, SHARED
from api.contract.openapi.refusals import REFUSALS
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Here, JobId, Reader, Tx, documented_reader
from api.dependencies.state import State
from api.edge.route import Route
from api.sharing.turns import WITHOUT_KEY
from models import ids, jobs
from models.errors import Erased, ImageExpired, NotFinished, NotFound, SignatureInvalid
from models.images import references, urls
from models.images.pictures import Converted
from models.images.references import KeptReference
from models.images.store_errors import Missing
from models.jobs import Snapshot
from models.schema import Image
from models.states import TERMINAL

router = APIRouter(
    prefix="/v1/jobs",
    tags=["images"],
    dependencies=documented_reader,
    responses=REFUSALS,
    route_class=Route,
)

sharing = APIRouter(prefix="/v1/jobs", tags=["images"], responses=REFUSALS, route_class=JsonRoute)

_NOTHING = (0, 0)  # a range that no byte of the image is in
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# The bytes under an image's URL never change; a browser may keep them as long as it likes.
_CACHING = "private, max-age=31536000, immutable"
# Clients in browsers send the API key along with a signed URL: that is asked about first (a preflight).
_SHARED = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Content-Length, Content-Range, Content-Disposition, ETag",
    "cross-origin-resource-policy": "cross-origin",
}
_PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD",
    "access-control-allow-headers": "Authorization, Content-Type, Range, If-None-Match, If-Range",
    "access-control-max-age": "86400",
}

Number = Annotated[int, Path(ge=0, le=99, description="which image of the job; there is one, 0")]
Expiry = Annotated[int | None, Query(description="of a signed URL: unix seconds")]
Quality = Annotated[int, Query(ge=0, le=100, description="of a WebP")]
Signature = Annotated[str | None, Query(description="of a signed URL")]


@router.get("/{id}/images/{n}", response_class=StreamingResponse, responses=BYTES)
async def get_image(  # noqa: PLR0917 - each parameter is a header or a part of the URL
    request: Request, job_id: JobId, n: Number, here: Here,
    exp: Expiry = None, sig: Signature = None,
    range_: Annotated[str | None, Header(alias="range")] = None,
) -> Response:  # fmt: skip
    """Return the image's bytes."""
    found, image = await _find(request, here, job_id, n, exp, sig)
    key = f"{found.job.project_id}/{image.sha256}"
    named = _named(job_id, image.content_type)
    return await _bytes(request, here, key, image.sha256, named, range_)


@router.get("/{id}/images/{n}/thumbnail", response_class=StreamingResponse, responses=BYTES)
async def get_thumbnail(  # noqa: PLR0917 - the same as `image`
    request: Request, job_id: JobId, n: Number, here: Here,
    exp: Expiry = None, sig: Signature = None,
    range_: Annotated[str | None, Header(alias="range")] = None,
) -> Response:  # fmt: skip
    """Return a JPEG of at most 512 pixels a side; it is drawn right after the job has succeeded."""
    found, image = await _find(request, here, job_id, n, exp, sig)
    if image.thumbnail == "pending":
        raise NotFinished("The thumbnail is being drawn; try again in a moment.")
    if image.thumbnail == "impossible":
        raise NotFound("This image could not be drawn small; take the image itself.")
    key = f"{found.job.project_id}/{image.sha256}.thumb"
    named = _named(job_id, "image/jpeg", "-thumbnail")
    return await _bytes(request, here, key, f"{image.sha256}-t", named, range_)


@router.get("/{id}/references/{n}", response_class=StreamingResponse, responses=BYTES)
async def get_reference(
    request: Request, job_id: JobId, n: Number, here: Here,
    range_: Annotated[str | None, Header(alias="range")] = None,
) -> Response:  # fmt: skip
    """Return the bytes of a reference that came inside the request; one that is a link stays there."""
    caller = await here.callers.admit(request)
    caller.demand("jobs:read")
    found = await here.waiting.read(caller.project_id, job_id)
    given = _reference(found, n)
    key = f"{found.job.project_id}/{given.sha256}"
    named = _named(job_id, given.mime, f"-reference-{n}")
    return await _bytes(request, here, key, given.sha256, named, range_)


@sharing.post("/{id}/share", responses=SHARED)
async def share_image(caller: Reader, job_id: JobId, tx: Tx, here: Here) -> Response:
    """Create a link to the image that works for an hour, without a key."""
    found = await jobs.snapshot(tx, caller.project_id, job_id)
    shown = here.presenter.shared(found.job, kept(found), found.now)
    return JsonAnswer(shown, headers={"cache-control": "no-store"})


def _reference(found: Snapshot, n: int) -> KeptReference:
    if found.job.erased_at is not None:
        raise Erased(f"The job was erased on {found.job.erased_at:%Y-%m-%d}.")
    urls = found.job.input.get("image_urls")
    given = urls[n] if isinstance(urls, list) and n < len(urls) else None
    kept = references.parse_descriptor(given) if isinstance(given, str) else None
    if kept is None:
        raise NotFound(f"This job has no reference {n} that came inside the request.")
    return kept


@router.get("/{id}/images/{n}/{kind}", response_class=StreamingResponse, responses=BYTES)
async def get_converted_image(  # noqa: PLR0917 - the same as `image`
    request: Request, job_id: JobId, n: Number, kind: Converted, here: Here,
    exp: Expiry = None, sig: Signature = None, quality: Quality = 90,
) -> Response:  # fmt: skip
    """Return the image as PNG or WebP; what is kept stays as it is."""
    found, kept = await _find(request, here, job_id, n, exp, sig)
    etag = f'"{kept.sha256}-{kind}{quality if kind == "webp" else ""}"'
    headers = {"etag": etag, "cache-control": _CACHING, **_SHARED}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    data = await _converted(here, found, kept, kind, quality)
    return Response(data, headers=headers | _named(job_id, f"image/{kind}"))


@router.options("/{id}/images/{n}", include_in_schema=False)
@router.options("/{id}/images/{n}/{kind}", include_in_schema=False)
async def allow_image() -> Response:
    """Allow any page's script to fetch an image: its URL is the permission."""
    return Response(status_code=204, headers=_SHARED | _PREFLIGHT)


async def _converted(
    here: State, found: Snapshot, kept: Image, kind: Converted, quality: int
) -> bytes:
    try:
        return await here.conversions.make(found.job.project_id, kept.sha256, kind, quality)
    except Missing:
        raise ImageExpired("The image is no longer in the store.") from None


async def _find(
    request: Request, here: State, job_id: UUID, n: int, exp: int | None, sig: str | None
) -> tuple[Snapshot, Image]:
    """Find the image that this request may see, by its signature or its key."""
    if sig is not None:
        _check_signature(request, here, exp, sig)
        project_id = None
    else:
        caller = await here.callers.admit(request)
        caller.demand("jobs:read")
        project_id = caller.project_id
    async with here.turns.open(project_id or WITHOUT_KEY) as tx:
        found = await jobs.snapshot(tx, project_id, job_id)
    here.callers.hold(request, found.job.project_id)
    shown = kept(found, n)
    if exp is not None and sig is not None and exp < time.time():
        raise SignatureInvalid("The signed URL has expired; GET the job for a fresh one.")
    return found, shown


def kept(found: Snapshot, n: int = 0) -> Image:
    """Return an image of a job that may be shown; raises why there is none."""
    if found.job.erased_at is not None:
        raise Erased(f"The job was erased on {found.job.erased_at:%Y-%m-%d}.")
    if n != 0 or (found.image is None and found.job.status in TERMINAL):
        raise NotFound(f"This job has no image {n}.")
    if found.image is None:
        raise NotFinished(f"The job is {found.job.status}; its image is not there yet.")
    if found.image.removed_at is not None or found.image.expires_at <= found.now:
        raise ImageExpired(f"The image was kept until {found.image.expires_at:%Y-%m-%d}.")
    return found.image


def _check_signature(request: Request, here: State, exp: int | None, sig: str) -> None:
    good = exp is not None and urls.is_signed(here.vault, request.url.path, exp, sig)
    if not good:
        raise SignatureInvalid("The URL's signature does not fit it; use the URL as it was given.")


def _named(job_id: UUID, content_type: str, suffix: str = "") -> dict[str, str]:
    """Return the headers that say what the bytes are, and under which name a browser saves them.

    Whatever a model drew into them, a browser runs none of it.
    """
    ending = content_type.partition("/")[2].replace("jpeg", "jpg")
    name = f"{ids.text(ids.JOB, job_id)}{suffix}.{ending}"
    return {
        "content-type": content_type,
        "content-disposition": f'inline; filename="{name}"',
        "content-security-policy": "default-src 'none'; sandbox",
    }


async def _bytes(
    request: Request, here: State, key: str, tag: str, named: dict[str, str], range_: str | None
) -> Response:
    etag = f'"{tag}"'
    headers = {"etag": etag, "cache-control": _CACHING, "accept-ranges": "bytes"}
    headers |= named | _SHARED
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    size = await here.store.size(key)
    if size is None:
        raise ImageExpired("The image is no longer in the store.")
    wanted = _range(range_, size) if request.headers.get("if-range", etag) == etag else None
    if wanted == _NOTHING:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
    start, end = (0, size) if wanted is None else wanted
    headers["content-length"] = str(end - start)
    if wanted is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    try:
        chunks = await here.store.open(key, start=start, end=end)
    except Missing:
        raise ImageExpired("The image is no longer in the store.") from None
    return StreamingResponse(chunks, 206 if wanted else 200, headers)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range (RFC 9110, 14.1.2): start and end (exclusive), or None to ignore it."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        last = int(match[2])
        return (max(size - last, 0), size) if last and size else _NOTHING
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= size:
        return _NOTHING
    return (start, end) if start < end else None
