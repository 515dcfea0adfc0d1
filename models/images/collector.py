"""Garbage collection of blobs: how one is deleted without pulling it from under a job.

The store and Postgres share no transaction, and the same bytes have one blob in a project: while one is
deleted, a new job may be bringing those very bytes again. So a mark, a row of `remnants`, says so first.

    a reference goes       `mark`: a row, in the transaction that drops it. Nothing is deleted yet
    bytes are put          `reserve` before, and `attach` in the transaction that refers to them: the row
                           goes. A process that dies in between leaves it, and the blob is found by it
    after the grace        `sweep`: what a job or a file refers to by now loses its row; the rest is
                           deleted, outside of any transaction, and `gone` says so for a day

No transaction lives as long as the grace, so `sweep` sees every reference that was made without a row in
the way. Bytes that were put while their blob was deleted find the row at `attach`, and are put again. A row
that is neither being deleted nor gone is a reservation, ours or that of somebody who brings the same bytes:
the first to attach takes the row for all, and for as long as the grace their bytes are safe without it. A
worker, whose images hardly ever come twice, does not reserve: it looks (`is_marked`) and reserves only when
a row is there.

A worker that dies between putting an image and saying so, and whose job then fails for good, leaves a blob
without a row; only a listing of the bucket beside `images`, `input_images` and `files` finds that one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Interval,
    and_,
    bindparam,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import BlobMark, File, Image, InputImage, Job

# Longer than a transaction lives, and than the storing of what a body brings along.
GRACE = timedelta(minutes=5)
LEASE = timedelta(minutes=2)  # to delete a batch of blobs; half of it is used
_REMEMBERED = timedelta(days=1)

Blob = tuple[UUID, str]  # a project, and the hash of the bytes


class Contested(Exception):
    """The bytes may have been deleted since they were put: reserve the blob and put them again."""


@dataclass(frozen=True, slots=True)
class Swept:
    """A blob whose bytes are to be deleted now; nobody takes it before `until`."""

    project_id: UUID
    sha256: str
    until: datetime


async def of(tx: Transaction, jobs: Collection[UUID]) -> list[Blob]:
    """Return the blobs that these jobs refer to: what came with their inputs, and their images."""
    inputs = await tx.execute(
        select(InputImage.project_id, InputImage.sha256).where(InputImage.job_id.in_(jobs))
    )
    images = await tx.execute(
        select(Job.project_id, Image.sha256)
        .join(Job, Job.id == Image.job_id)
        .where(Image.job_id.in_(jobs), Image.removed_at.is_(None))
    )
    return [(row.project_id, row.sha256) for row in (*inputs, *images)]


async def mark(tx: Transaction, blobs: Collection[Blob]) -> None:
    """Mark blobs that have lost a reference, in the transaction that drops it."""
    await reserve(tx, blobs)


async def reserve(tx: Transaction, blobs: Collection[Blob]) -> bool:
    """Keep these blobs from being deleted for a grace; False when one is being deleted right now.

    Their bytes must be put after this has committed, and the blobs be taken with what refers to them.
    """
    wanted = sorted(set(blobs))  # in one order, so that two who want the same do not deadlock
    if not wanted:
        return True
    reserved = await tx.execute(
        insert(BlobMark)
        .values([{"project_id": project, "sha256": digest} for project, digest in wanted])
        .on_conflict_do_update(
            index_elements=["project_id", "sha256"],
            set_={"since": func.now(), "doomed_until": None, "gone_at": None},
            where=_not_being_deleted(),
        )
        .returning(BlobMark.sha256)
    )
    return len(reserved.all()) == len(wanted)


async def attach(tx: Transaction, blobs: Collection[Blob]) -> bool:
    """Refer to blobs that were reserved and put; False when one was, or is being, deleted."""
    if not blobs:
        return True
    plain = BlobMark.doomed_until.is_(None), BlobMark.gone_at.is_(None)
    # Locked in the order of `reserve`, or two who bring the same would lock each other out.
    reserved = (
        select(BlobMark.project_id, BlobMark.sha256)
        .where(_among(blobs), *plain)
        .order_by(BlobMark.project_id, BlobMark.sha256)
        .with_for_update()
    )
    await tx.execute(
        delete(BlobMark).where(tuple_(BlobMark.project_id, BlobMark.sha256).in_(reserved), *plain)
    )
    # Asked anew: what others have reserved since that statement began is as good as no row.
    return not await tx.scalar(select(exists().where(_among(blobs), not_(and_(*plain)))))


async def is_marked(tx: Transaction, blobs: Collection[Blob]) -> bool:
    """Return whether a row stands for any of these: then its bytes may be gone, or about to go."""
    return bool(await tx.scalar(select(exists().where(_among(blobs)))))


async def sweep(tx: Transaction, limit: int, grace: timedelta = GRACE) -> tuple[list[Swept], int]:
    """Pick blobs that nothing refers to, of each project in turn, to delete; tell how many it saw."""
    due = await tx.execute(_IN_TURN, {"limit": limit, "grace": grace})
    waiting = [(row.project_id, row.sha256) for row in due]
    # Asked anew: what has been reserved since is somebody's.
    still = BlobMark.gone_at.is_(None), BlobMark.since < func.now() - grace, _not_being_deleted()
    locked = select(BlobMark.project_id, BlobMark.sha256).where(_among(waiting), *still)
    rows = await tx.execute(locked.with_for_update(skip_locked=True))
    found = [(row.project_id, row.sha256) for row in rows]
    if not found:
        return [], 0
    await tx.execute(delete(BlobMark).where(_among(found), _referred_to()))
    swept = await tx.execute(
        update(BlobMark)
        .where(_among(found))
        .values(doomed_until=func.now() + LEASE)
        .returning(BlobMark.project_id, BlobMark.sha256, BlobMark.doomed_until)
    )
    return [Swept(project, digest, until) for project, digest, until in swept if until], len(found)


async def gone(tx: Transaction, deleted: Sequence[Swept]) -> None:
    """Write that the bytes of these blobs are deleted; leave what somebody else has swept since."""
    for each in deleted:
        await tx.execute(
            update(BlobMark)
            .where(
                BlobMark.project_id == each.project_id,
                BlobMark.sha256 == each.sha256,
                BlobMark.doomed_until == each.until,
            )
            .values(gone_at=func.now(), doomed_until=None)
        )


async def forget(tx: Transaction, limit: int) -> int:
    """Delete rows of what is gone for a day: nobody still holds bytes that were put before."""
    old = (
        select(BlobMark.project_id, BlobMark.sha256)
        .where(BlobMark.gone_at < func.now() - _REMEMBERED)
        .order_by(BlobMark.gone_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = await tx.execute(
        delete(BlobMark)
        .where(tuple_(BlobMark.project_id, BlobMark.sha256).in_(old))
        .returning(BlobMark.sha256)
    )
    return len(rows.all())


async def is_waiting(tx: Transaction, project_id: UUID, until: datetime) -> bool:
    """Return whether bytes of a project are still to be deleted that lost a reference up to a moment.

    Bytes whose mark has moved on are somebody else's by now: another job has brought them too.
    """
    mine = BlobMark.project_id == project_id, BlobMark.gone_at.is_(None), BlobMark.since <= until
    return bool(await tx.scalar(select(exists().where(*mine))))


async def overdue(tx: Reader) -> timedelta:
    """Return for how long the oldest blob should be gone; nothing, while all are deleted in time."""
    (row,) = await tx.read(_WAITED, {})
    late: timedelta | None = row["waited"]
    return max((late or timedelta()) - GRACE, timedelta())


def _not_being_deleted() -> ColumnElement[bool]:
    return or_(BlobMark.doomed_until.is_(None), BlobMark.doomed_until < func.now())


def _among(blobs: Collection[Blob]) -> ColumnElement[bool]:
    return tuple_(BlobMark.project_id, BlobMark.sha256).in_(list(blobs))


def _referred_to() -> ColumnElement[bool]:
    inputs = exists().where(
        InputImage.project_id == BlobMark.project_id, InputImage.sha256 == BlobMark.sha256
    )
    images = exists().where(
        Image.sha256 == BlobMark.sha256,
        Image.removed_at.is_(None),
        Image.job_id == Job.id,
        Job.project_id == BlobMark.project_id,
    )
    files = exists().where(File.project_id == BlobMark.project_id, File.sha256 == BlobMark.sha256)
    return or_(inputs, images, files)


# Leaps from project to project over ix_remnants_waiting: one that erases very much keeps no other waiting.
_IN_TURN = text("""
    WITH RECURSIVE owners AS (
        (SELECT project_id FROM remnants WHERE gone_at IS NULL ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT following.* FROM owners CROSS JOIN LATERAL (
               SELECT project_id FROM remnants
                WHERE gone_at IS NULL AND project_id > owners.project_id
                ORDER BY project_id LIMIT 1) following
    )
    SELECT owners.project_id, sha256 FROM owners CROSS JOIN LATERAL (
           SELECT sha256, since, row_number() OVER (ORDER BY since) AS nth FROM remnants
            WHERE gone_at IS NULL AND project_id = owners.project_id AND since < now() - :grace
              AND coalesce(doomed_until < now(), true) ORDER BY since LIMIT :limit) first
     ORDER BY nth, since LIMIT :limit
""").bindparams(bindparam("grace", type_=Interval()))


_WAITED = prepared(text("SELECT now() - min(since) AS waited FROM remnants WHERE gone_at IS NULL"))
