"""Kept images: their rows, their thumbnails, and the end of their retention."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Interval,
    Uuid,
    any_,
    func,
    select,
    text,
    update,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.dialects.postgresql import Insert, insert

from models.platform.db import Transaction
from models.platform.db.direct import Direct
from models.platform.db.statements import (
    Reader,
    Writer,
    attributes,
    given,
    loaded,
    prepared,
)
from models.schema import Image, Job

_SETTLED_FOR = func.make_interval(0, 0, 0, 0, 0, 1)  # a minute: the worker draws it right away


_LOST = 20_000  # pending thumbnails that one look for lost ones goes through
_OF_KEPT = ("sha256", "bytes", "width", "height", "content_type", "provider_url")


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image whose bytes are in the store, and how long it is to be kept.

    `reserved`: its blob was reserved (`models/images/collector.py`) before the bytes were put.
    """

    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    provider_url: str | None
    retention: timedelta
    reserved: bool = False

    @classmethod
    def by_another(cls, image: Image) -> "KeptImage":
        """Return another job's image, to be kept as long from now on as that one was from its own start."""
        return cls(
            sha256=image.sha256,
            bytes=image.bytes,
            width=image.width,
            height=image.height,
            content_type=image.content_type,
            provider_url=image.provider_url,
            retention=image.expires_at - image.kept_at,
        )


async def kept_of(tx: Transaction, project_id: UUID, jobs: Collection[UUID]) -> dict[UUID, Image]:
    """Return the images that these jobs of a project ended with, as far as they are kept, by job."""
    found = await tx.scalars(
        select(Image)
        .join(Job, Job.id == Image.job_id)
        .where(
            Job.project_id == project_id,
            Image.job_id.in_(jobs),
            Image.late.is_(False),
            Image.removed_at.is_(None),
            Image.expires_at > func.now(),
        )
    )
    return {image.job_id: image for image in found}


async def write(
    tx: Writer,
    job_id: UUID,
    attempt: int,
    kept: KeptImage,
    *,
    late_image: bool = False,
    thumbnail: str = "pending",
) -> None:
    """Attach this image to a job: as its result, once, or as a late one, which may come again."""
    row = columns(job_id, attempt, kept, late_image=late_image)
    told = {"retention": kept.retention, "thumbnail": thumbnail}
    await tx.run(_WRITE_LATE if late_image else _WRITE, row | told)


def columns(
    job_id: UUID, attempt: int, kept: KeptImage, *, late_image: bool = False
) -> dict[str, object]:
    """Return the columns that a kept image fills as it stands."""
    of_kept = {name: getattr(kept, name) for name in _OF_KEPT}
    return {"job_id": job_id, "attempt": attempt, "late": late_image, **of_kept}


def appended(job: FromClause) -> Insert:
    """Write the image that a larger statement keeps, of a job whose row is `job`.

    It is given `columns`, and for how long the image is kept (`retention`).
    """
    return _inserted(job.c.id)


def _inserted(job_id: ColumnElement[UUID], *more: str) -> Insert:
    of = mapped(Image).columns
    names = ("attempt", "late", *_OF_KEPT, *more)
    until = func.now() + given("retention", Interval())
    row = select(job_id, *(given(name, of[name]) for name in names), until)
    columns = ["job_id", *(of[name].name for name in names), "expires_at"]
    return insert(Image).from_select(columns, row)


_MADE = _inserted(given("job_id", Uuid()), "thumbnail")
_WRITE, _WRITE_LATE = prepared(_MADE), prepared(_MADE.on_conflict_do_nothing())


async def promote(tx: Transaction, job_id: UUID) -> bool:
    """Make the earliest attempt's late image the result of a job that has none; False without one."""
    candidates = (
        Image.job_id == job_id,
        Image.late,
        Image.removed_at.is_(None),
        Image.expires_at > func.now(),
    )
    earliest = select(func.min(Image.attempt)).where(*candidates).correlate(None).scalar_subquery()
    promoted = await tx.scalar(
        update(Image)
        .where(*candidates, Image.attempt == earliest)
        .values(late=False)
        .returning(Image.attempt)
    )
    return promoted is not None


async def thumbnail_is(direct: Direct, job_id: UUID, state: Literal["made", "impossible"]) -> None:
    """Write what became of the thumbnail of a job's image."""
    await direct.write(_THUMBNAIL, {"job": job_id, "state": state})


async def without_thumbnail(tx: Transaction, limit: int) -> list[tuple[UUID, UUID, str]]:
    """Return job, project and hash of images whose thumbnail was lost with its worker.

    A few of each project, so that none waits behind another's many; which of them changes from look to
    look, for some may be lost each time.
    """
    lost = (
        select(Image.job_id, Job.project_id, Image.sha256, Image.kept_at)
        .join(Job, Job.id == Image.job_id)
        .where(
            Image.thumbnail == "pending",
            ~Image.late,
            Image.removed_at.is_(None),
            Image.kept_at < func.now() - _SETTLED_FOR,
        )
        .order_by(Image.kept_at)
        .limit(_LOST)
        .cte("lost")
    )
    place = func.row_number().over(partition_by=lost.c.project_id, order_by=func.random())
    lined = select(lost, place.label("place")).subquery()
    rows = await tx.execute(select(lined).order_by(lined.c.place, lined.c.kept_at).limit(limit))
    return [(row.job_id, row.project_id, row.sha256) for row in rows]


async def latest(tx: Transaction, limit: int) -> list[tuple[UUID, str]]:
    """Return project and hash of the last images whose bytes are still to be in the store."""
    rows = await tx.execute(
        select(Job.project_id, Image.sha256)
        .join(Job, Job.id == Image.job_id)
        .where(Image.removed_at.is_(None), Image.expires_at > func.now())
        .order_by(Image.job_id.desc())
        .limit(limit)
    )
    return [(row.project_id, row.sha256) for row in rows]


_THUMBNAIL = prepared(
    text("UPDATE images SET thumbnail = :state WHERE job_id = :job AND NOT spare")
)


async def images_of(driver: Reader, job_ids: Sequence[UUID]) -> dict[UUID, list[Image]]:
    """Return the kept images of these jobs; late images too."""
    found: dict[UUID, list[Image]] = {job_id: [] for job_id in job_ids}
    for row in await driver.read(_OF, {"jobs": list(job_ids)}):
        found[row["job_id"]].append(loaded(Image, row))
    return found


_OF = prepared(select(*attributes(Image)).where(Image.job_id == any_(given("jobs", ARRAY(Uuid())))))
