"""From an upload to a file: its picture is judged as a reference is, kept, and then has a name."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from fastapi import Request

from api.contract.requests.files import FileFields, FileUrl
from api.dependencies.state import State
from api.submitting.submission import check_url
from models.accounts import living
from models.accounts.callers import Caller
from models.errors import FieldError, InvalidRequest, StillRunning
from models.images import fetches, files
from models.images.files import Picture, Room
from models.images.references import BadReference, Inline, parse, read_bytes
from models.schema import File

_FETCHED_IN = timedelta(seconds=55)  # clients wait for a minute, often
_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came; `name` is what its sender calls it."""

    data: bytes = field(repr=False)
    name: str | None
    fields: FileFields


async def take(
    request: Request, here: State, caller: Caller, brought: Upload | FileUrl
) -> tuple[File, bool]:
    """Keep the picture of an upload; return its file, and whether the same bytes were there before.

    Raises `InvalidRequest`, `LimitReached`, `Unavailable`, `EgressRefused`, `StillRunning` for a URL that
    takes long, and as `References.measure`.
    """
    if isinstance(brought, Upload):
        try:
            picture = await asyncio.to_thread(read_bytes, brought.data)
            return await _keep(here, caller, picture, brought.name, brought.fields.customer)
        except BadReference as bad:
            raise refusal("/file", str(bad)) from None
    if brought.url[:5].lower() != "data:":
        return await _fetched(request, here, caller, brought)
    try:
        picture = await asyncio.to_thread(parse, brought.url)
        return await _keep(here, caller, picture, None, brought.customer)
    except BadReference as bad:
        raise refusal("/url", str(bad)) from None


async def _keep(
    here: State, caller: Caller, picture: Inline, name: str | None, customer: str | None
) -> tuple[File, bool]:
    project_id, settings = caller.project_id, here.settings
    size = await here.references.measure(project_id, picture)
    opened = partial(here.turns.open, project_id)
    await files.put(opened, here.store, project_id, picture, Room.of(settings))
    kept = Picture.of(picture, size, name=name, customer=customer)
    async with opened() as tx:
        return await files.keep(tx, project_id, kept, settings.file_retention)


async def _fetched(
    request: Request, here: State, caller: Caller, asked: FileUrl
) -> tuple[File, bool]:
    """Have a worker fetch a picture, and wait for it."""
    check_url(here, asked.url, "/url")
    project_id = caller.project_id
    async with here.turns.open(project_id) as tx:
        fetch_id, began = await fetches.ask(tx, project_id, asked.url, asked.customer)
        await living.demand_project(tx, project_id)  # after the lock that this takes, which is more
    found = await here.waiting.fetched(request, project_id, fetch_id, _FETCHED_IN)
    if found.problem is not None:
        raise refusal("/url", found.problem)
    if found.file_id is None:
        raise StillRunning(
            "The picture is still being fetched: send the same request again to wait for it.",
            retry_after=_AGAIN,
        )
    async with here.turns.open(project_id) as tx:
        file = await files.find(tx, project_id, found.file_id)
    return file, file.created_at < began


def refusal(pointer: str, message: str) -> InvalidRequest:
    """Refuse an upload for one of its fields."""
    return InvalidRequest(
        f"The file cannot be kept: {message}", errors=(FieldError(pointer, message),)
    )
