"""From an upload to a file: its picture is judged as a reference is, kept, and then has a name."""

import asyncio
from dataclasses import dataclass, field

from api.contract.requests.files import FileFields
from api.dependencies.state import State
from models.accounts.callers import Caller
from models.errors import FieldError, InvalidRequest, Unavailable
from models.images import collector, files
from models.images.files import Picture, Room
from models.images.references import BadReference, read_bytes
from models.schema import File


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came; `name` is what its sender calls it."""

    data: bytes = field(repr=False)
    name: str | None
    fields: FileFields


async def take(here: State, caller: Caller, upload: Upload) -> tuple[File, bool]:
    """Keep the picture of an upload; return its file, and whether the same bytes were there before.

    Raises `InvalidRequest`, `LimitReached`, `Unavailable`, and as `References.measure`.
    """
    project_id, settings = caller.project_id, here.settings
    try:
        picture = await asyncio.to_thread(read_bytes, upload.data)
        size = await here.references.measure(project_id, picture)
    except BadReference as bad:
        raise refusal("/file", str(bad)) from None
    length = len(picture.data)
    async with here.turns.open(project_id) as tx:
        room = Room(settings.files_max, settings.files_max_bytes)
        await files.demand_room(tx, project_id, picture.sha256, length, room)
        if not await collector.reserve(tx, [(project_id, picture.sha256)]):
            raise Unavailable("The same bytes are being deleted just now; send them again.")
    # A process that dies from here on leaves the reservation, by which the bytes are found and deleted.
    await here.store.put(str(project_id), picture.data, picture.mime)
    kept = Picture(
        picture.sha256, length, size.width, size.height, picture.mime,
        upload.name, upload.fields.customer,
    )  # fmt: skip
    async with here.turns.open(project_id) as tx:
        return await files.keep(tx, project_id, kept, settings.file_retention)


def refusal(pointer: str, message: str) -> InvalidRequest:
    """Refuse an upload for one of its fields."""
    return InvalidRequest(
        f"The file cannot be kept: {message}", errors=(FieldError(pointer, message),)
    )
