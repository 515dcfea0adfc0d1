"""Files: pictures that a project keeps to draw from, under names of their own (`file_…`).

The same bytes are one file, whoever brings them and however often; but each customer has a file of its
own, or to forget one would take it from the others. A file is kept for some time after its last use: being
brought again, or drawn from. Its bytes lie in the store as a job's references do, and a job that draws from
it refers to the bytes and not to the file: it goes on when the file is gone.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.audit_log import recording
from models.errors import LimitReached, NotFound, Unavailable
from models.images import collector
from models.images.pictures import Size
from models.images.references import Inline
from models.images.storage import Store
from models.platform.db import Transaction
from models.schema import Fetch, File, Project
from models.settings import Settings

_BEING_DELETED = "The same bytes are being deleted just now; send them again."
_OFTEN = timedelta(hours=1)  # a use sooner than this after another changes no row


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was judged; `name` is what its sender calls it."""

    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    name: str | None = None
    customer: str | None = None

    @classmethod
    def of(
        cls, judged: Inline, size: Size, *, name: str | None = None, customer: str | None = None
    ) -> "Picture":
        """Return what is to be remembered of a picture that came with its bytes."""
        bytes_ = len(judged.data)
        return cls(judged.sha256, bytes_, size.width, size.height, judged.mime, name, customer)


@dataclass(frozen=True, slots=True)
class Room:
    """How many files a project may keep, and how many bytes of them."""

    files: int
    bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "Room":
        """Return what the settings allow."""
        return cls(settings.files_max, settings.files_max_bytes)


async def put(
    opened: Callable[[], AbstractAsyncContextManager[Transaction]],
    store: Store,
    project_id: UUID,
    judged: Inline,
    room: Room,
) -> None:
    """Store the bytes of a picture that is to be kept; `opened` opens a transaction.

    A process that dies before they are kept leaves their reservation, by which they are found and deleted.
    Raises `StoreUnavailable`, and as `_reserve`.
    """
    async with opened() as tx:
        await _reserve(tx, project_id, judged.sha256, len(judged.data), room)
    await store.put(str(project_id), judged.data, judged.mime)


async def _reserve(tx: Transaction, project_id: UUID, sha256: str, length: int, room: Room) -> None:
    """Reserve the blob of a picture.

    Raises `LimitReached` where the project may keep no other file, or none of so many bytes (what it keeps
    already needs no room), and `Unavailable` where the same bytes are being deleted. Uploads at the same
    time may pass the bounds by a few: nobody waits for a count.
    """
    others = select(func.count(), func.coalesce(func.sum(File.bytes), 0)).where(
        File.project_id == project_id, File.sha256 != sha256
    )
    count, held = (await tx.execute(others)).one()
    if count >= room.files:
        raise LimitReached(f"The project keeps {count:,} files, as many as it may; delete some.")
    if held + length > room.bytes:
        raise LimitReached(
            f"The project keeps {held:,} bytes of files and may keep {room.bytes:,}, so there is no room "
            f"for {length:,} more; delete some."
        )
    if not await collector.reserve(tx, [(project_id, sha256)]):
        raise Unavailable(_BEING_DELETED)


async def keep(
    tx: Transaction, project_id: UUID, picture: Picture, kept: timedelta
) -> tuple[File, bool]:
    """Make the file of a picture whose blob was reserved and put; return it, and whether it was there.

    Raises `NotFound` where the project is being deleted, and `Unavailable` where the same bytes are.
    """
    # Shared, so that a deletion of the project comes wholly before, or sees the file.
    there = select(Project.id).where(Project.id == project_id, Project.deleted_at.is_(None))
    if await tx.scalar(there.with_for_update(read=True)) is None:
        raise NotFound("This project is being deleted.")
    made, until = ids.new(), func.now() + kept
    values = {name: getattr(picture, name) for name in Picture.__slots__}
    row = insert(File).values(id=made, project_id=project_id, expires_at=until, **values)
    row = row.on_conflict_do_update(
        index_elements=["project_id", "sha256", "customer"], set_={"expires_at": until}
    )
    file = (await tx.scalars(row.returning(File))).one()
    # After the row, in the order of who deletes it.
    if not await collector.attach(tx, [(project_id, picture.sha256)]):
        raise Unavailable(_BEING_DELETED)
    return file, file.id != made


async def use(
    tx: Transaction, project_id: UUID, named: Collection[UUID], kept: timedelta
) -> dict[UUID, File]:
    """Return those of these files that a project has, by id; each is kept from now on as if it were new."""
    mine = *_there(project_id), File.id.in_(named)
    found = {file.id: file for file in await tx.scalars(select(File).where(*mine))}
    stale = select(File.id).where(*mine, File.expires_at < func.now() + kept - _OFTEN)
    stale = stale.with_for_update(skip_locked=True)  # whoever has it does the same, or deletes it
    await tx.execute(
        update(File).where(File.id.in_(stale)).values(expires_at=func.now() + kept),
        execution_options={"synchronize_session": False},
    )
    return found


async def find(tx: Transaction, project_id: UUID, file_id: UUID) -> File:
    """Return a file of a project; raises `NotFound`."""
    found = await tx.scalar(select(File).where(*_there(project_id), File.id == file_id))
    if found is None:
        raise NotFound("There is no such file in this project.")
    return found


async def listing(
    tx: Transaction, project_id: UUID, before: UUID | None, limit: int
) -> tuple[Sequence[File], bool]:
    """Return files of a project, newest first, and whether there are more."""
    older = () if before is None else (File.id < before,)
    newest = select(File).where(*_there(project_id), *older).order_by(File.id.desc())
    found = list(await tx.scalars(newest.limit(limit + 1)))
    return found[:limit], len(found) > limit


async def remove(tx: Transaction, project_id: UUID, file_id: UUID) -> None:
    """Delete a file; its bytes go with the last that refers to them. Raises `NotFound`."""
    if not await _let_go(tx, *_there(project_id), File.id == file_id):
        raise NotFound("There is no such file in this project.")
    await recording.record(tx, "file.deleted", ids.text(ids.FILE, file_id), project_id=project_id)


async def expire(tx: Transaction, limit: int) -> int:
    """Delete files that nobody has used for as long as they are kept; return how many."""
    return await _let_go_some(tx, limit, File.expires_at <= func.now())


async def empty(tx: Transaction, project_id: UUID, limit: int) -> int:
    """Delete files of a project that is being deleted, and what is fetched for it; return how many."""
    await tx.execute(delete(Fetch).where(Fetch.project_id == project_id))
    return await _let_go_some(tx, limit, File.project_id == project_id)


async def forget_customer(
    tx: Transaction, project_id: UUID, customer: str, until: datetime, limit: int
) -> int:
    """Delete files of a customer that are not younger, and what is fetched for it; return how many."""
    theirs = Fetch.project_id == project_id, Fetch.customer == customer
    await tx.execute(delete(Fetch).where(*theirs))
    mine = File.project_id == project_id, File.customer == customer
    return await _let_go_some(tx, limit, *mine, File.created_at <= until)


def _there(project_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return File.project_id == project_id, File.expires_at > func.now()


async def _let_go_some(tx: Transaction, limit: int, *which: ColumnElement[bool]) -> int:
    """Delete some files; one that is being used or deleted just now is left for the next time."""
    some = select(File.id).where(*which).limit(limit).with_for_update(skip_locked=True)
    found = list(await tx.scalars(some))
    return await _let_go(tx, File.id.in_(found)) if found else 0


async def _let_go(tx: Transaction, *which: ColumnElement[bool]) -> int:
    gone = delete(File).where(*which).returning(File.project_id, File.sha256)
    rows = await tx.execute(gone, execution_options={"synchronize_session": False})
    blobs = [(row.project_id, row.sha256) for row in rows]
    await collector.mark(tx, blobs)
    return len(blobs)
