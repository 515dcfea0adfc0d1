"""Kept images: their rows, their thumbnails, and the end of their retention."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Interval,
    Uuid,
    any_,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.types import TypeEngine

from models.platform.db import Transaction
from models.platform.db.direct import Direct
from models.platform.db.statements import (
    ASYNCHRONOUSLY,
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
    row = {
        "job_id": job_id,
        "attempt": attempt,
        "late": late_image,
        "thumbnail": thumbnail,
        "retention": kept.retention,
        **columns(kept),
    }
    await tx.run(_WRITE_LATE if late_image else _WRITE, row)


def columns(kept: KeptImage) -> dict[str, object]:
    """Return the columns that a kept image fills as it stands."""
    return {name: getattr(kept, name) for name in _OF_KEPT}


def kept_types() -> dict[str, TypeEngine[Any]]:
    """Return the types of these columns, and of the `retention`: for how long the image is kept."""
    of = mapped(Image).columns
    return {name: of[name].type for name in _OF_KEPT} | {"retention": Interval()}


def appended(kept: FromClause) -> Insert:
    """Write the images that a larger statement keeps, as their jobs' results.

    Each row of `kept` has the `id` of its job, the number of the `attempt`, and what `kept_types` lists.
    """
    of_job = {"job_id": kept.c.id, "attempt": kept.c.attempt, "late": false()}
    return _inserted(of_job, {name: kept.c[name] for name in kept_types()})


def _inserted(
    of_job: Mapping[str, ColumnElement[Any]], of_kept: Mapping[str, ColumnElement[Any]]
) -> Insert:
    until = func.now() + of_kept["retention"]
    row = {**of_job, **{name: of_kept[name] for name in _OF_KEPT}, "expires_at": until}
    of = mapped(Image).columns
    return insert(Image).from_select([of[name].name for name in row], select(*row.values()))


def _single() -> Insert:
    of = mapped(Image).columns
    of_job = {name: given(name, of[name]) for name in ("job_id", "attempt", "late", "thumbnail")}
    return _inserted(of_job, {name: given(name, type_) for name, type_ in kept_types().items()})


_WRITE, _WRITE_LATE = prepared(_single()), prepared(_single().on_conflict_do_nothing())


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
    text(f"""
    UPDATE images SET thumbnail = :state FROM {ASYNCHRONOUSLY} WHERE job_id = :job AND NOT spare
""")  # noqa: S608 - a constant of ours
)


async def images_of(driver: Reader, job_ids: Sequence[UUID]) -> dict[UUID, list[Image]]:
    """Return the kept images of these jobs; late images too."""
    found: dict[UUID, list[Image]] = {job_id: [] for job_id in job_ids}
    for row in await driver.read(_OF, {"jobs": list(job_ids)}):
        found[row["job_id"]].append(loaded(Image, row))
    return found


_OF = prepared(select(*attributes(Image)).where(Image.job_id == any_(given("jobs", ARRAY(Uuid())))))
