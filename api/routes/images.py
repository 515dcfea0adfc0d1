"""`/v1/jobs/{id}/images/{n}`: the kept bytes, by key or by signed URL, whole or in part."""

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
from api.dependencies.deps import Here, JobId, LivingTx, Reader, documented_reader
from api.dependencies.state import State
from api.edge.route import Route
from api.routes import downloads
from api.sharing.turns import WITHOUT_KEY
from models import ids, jobs
from models.errors import Erased, ImageExpired, NotFinished, NotFound, SignatureInvalid
from models.images import references, urls
from models.images.pictures import Converted
from models.images.references import KeptReference
from models.images.store_errors import Missing
from models.jobs import Snapshot
from models.schema import Image

router = APIRouter(
    prefix="/v1/jobs",
    tags=["images"],
    dependencies=documented_reader,
    responses=REFUSALS,
    route_class=Route,
)

sharing = APIRouter(prefix="/v1/jobs", tags=["images"], responses=REFUSALS, route_class=JsonRoute)

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
    return await downloads.send(request, here, key, image.sha256, named, range_)


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
    return await downloads.send(request, here, key, f"{image.sha256}-t", named, range_)


@router.get("/{id}/references/{n}", response_class=StreamingResponse, responses=BYTES)
async def get_reference(  # noqa: PLR0917 - the same as `image`
    request: Request, job_id: JobId, n: Number, here: Here,
    exp: Expiry = None, sig: Signature = None,
    range_: Annotated[str | None, Header(alias="range")] = None,
) -> Response:  # fmt: skip
    """Return the bytes of a reference that Darkroom keeps; one that is a link stays there."""
    found = await _admit(request, here, job_id, exp, sig)
    given = _reference(found, n)
    _demand_fresh(exp, sig)
    key = f"{found.job.project_id}/{given.sha256}"
    named = _named(job_id, given.mime, f"-reference-{n}")
    return await downloads.send(request, here, key, given.sha256, named, range_)


@sharing.post("/{id}/share", responses=SHARED)
async def share_image(caller: Reader, job_id: JobId, tx: LivingTx, here: Here) -> Response:
    """Create a link to the image that works for an hour, without a key."""
    found = await jobs.read(tx, caller.project_id, job_id)
    shown = here.presenter.shared(found.job, kept(found), found.now)
    return JsonAnswer(shown, headers={"cache-control": "no-store"})


def _reference(found: Snapshot, n: int) -> KeptReference:
    if found.job.erased_at is not None:
        raise Erased(f"The job was erased on {found.job.erased_at:%Y-%m-%d}.")
    urls = found.job.input.get("image_urls")
    given = urls[n] if isinstance(urls, list) and n < len(urls) else None
    kept = references.parse_descriptor(given) if isinstance(given, str) else None
    if kept is None:
        raise NotFound(f"This job has no reference {n} that is kept here.")
    return kept


@router.get("/{id}/images/{n}/{kind}", response_class=StreamingResponse, responses=BYTES)
async def get_converted_image(  # noqa: PLR0917 - the same as `image`
    request: Request, job_id: JobId, n: Number, kind: Converted, here: Here,
    exp: Expiry = None, sig: Signature = None, quality: Quality = 90,
) -> Response:  # fmt: skip
    """Return the image as PNG or WebP; what is kept stays as it is."""
    found, kept = await _find(request, here, job_id, n, exp, sig)
    etag = f'"{kept.sha256}-{kind}{quality if kind == "webp" else ""}"'
    headers = {"etag": etag, "cache-control": downloads.CACHING, **downloads.SHARED}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    data = await _converted(here, found, kept, kind, quality)
    return Response(data, headers=headers | _named(job_id, f"image/{kind}"))


@router.options("/{id}/images/{n}", include_in_schema=False)
@router.options("/{id}/images/{n}/{kind}", include_in_schema=False)
async def allow_image() -> Response:
    """Allow any page's script to fetch an image: its URL is the permission."""
    return Response(status_code=204, headers=downloads.SHARED | _PREFLIGHT)


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
    """Find the image that this request may see."""
    found = await _admit(request, here, job_id, exp, sig)
    shown = kept(found, n)
    _demand_fresh(exp, sig)
    return found, shown


async def _admit(
    request: Request, here: State, job_id: UUID, exp: int | None, sig: str | None
) -> Snapshot:
    """Find the job of which this request may see something, by its signature or its key."""
    if sig is not None:
        _check_signature(request, here, exp, sig)
        project_id = None
    else:
        caller = await here.callers.admit(request)
        caller.demand("jobs:read")
        project_id = caller.project_id
    async with here.turns.take(project_id or WITHOUT_KEY):
        found = await jobs.read(here.database.direct, project_id, job_id)
    here.callers.hold(request, found.job.project_id)
    return found


def _demand_fresh(exp: int | None, sig: str | None) -> None:
    if exp is not None and sig is not None and exp < time.time():
        raise SignatureInvalid("The signed URL has expired; GET the job for a fresh one.")


def kept(found: Snapshot, n: int = 0) -> Image:
    """Return an image of a job that may be shown; raises why there is none."""
    if found.job.erased_at is not None:
        raise Erased(f"The job was erased on {found.job.erased_at:%Y-%m-%d}.")
    if n != 0 or (found.image is None and found.over):
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
    return downloads.named(f"{ids.text(ids.JOB, job_id)}{suffix}", content_type)
