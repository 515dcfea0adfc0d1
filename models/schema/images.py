"""Tables: kept images, references, and blobs to be collected."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import NOW


class Image(Base):
    """A kept image. It is `late` (column `spare`) when another attempt had overtaken its own."""

    __tablename__ = "images"
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    late: Mapped[bool] = mapped_column("spare")
    sha256: Mapped[str]
    bytes: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    content_type: Mapped[str]
    provider_url: Mapped[str | None]
    thumbnail: Mapped[str] = mapped_column(server_default="pending")
    kept_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("thumbnail IN ('pending', 'made', 'impossible')", "thumbnail"),
        Index("uq_images_one_result", "job_id", unique=True, postgresql_where=text("NOT spare")),
        Index("ix_images_thumbnail", "kept_at", postgresql_where=text("thumbnail = 'pending'")),
        Index("ix_images_expires_at", "expires_at", postgresql_where=text("removed_at IS NULL")),
        Index("ix_images_sha256", "sha256"),
    )


class InputImage(Base):
    """A reference that came inside a job's input: its bytes lie in the store, like a kept image's."""

    __tablename__ = "input_images"
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    sha256: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]

    __table_args__ = (Index("ix_input_images_sha256", "sha256"),)


class File(Base):
    """A picture that a project keeps under a name of its own: the same bytes once for each customer."""

    __tablename__ = "files"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    sha256: Mapped[str]
    bytes: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    content_type: Mapped[str]
    name: Mapped[str | None]  # what its sender calls it
    customer: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]  # moves on with each use

    __table_args__ = (
        UniqueConstraint("project_id", "sha256", "customer", postgresql_nulls_not_distinct=True),
        Index("ix_files_newest", "project_id", "id"),
        Index("ix_files_expires_at", "expires_at"),
        Index(
            "ix_files_customer",
            "project_id",
            "customer",
            postgresql_where=text("customer IS NOT NULL"),
        ),
    )


class Fetch(Base):
    """A picture that a worker is to fetch from a URL for a file; soon forgotten, for a URL may be a secret.

    It ends with a file's id, which is there as long as the file is, or with a problem told in a sentence.
    """

    __tablename__ = "fetches"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    url: Mapped[str]
    customer: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime] = mapped_column(server_default=NOW)  # to be handed to a worker
    finished_at: Mapped[datetime | None]
    file_id: Mapped[UUID | None]
    problem: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(
            "num_nonnulls(file_id, problem) = CASE WHEN finished_at IS NULL THEN 0 ELSE 1 END",
            "ends_once",
        ),
        Index("ix_fetches_due_at", "due_at", postgresql_where=text("finished_at IS NULL")),
    )


class BlobMark(Base):
    """A mark on a blob that no job may refer to any more, or not yet: see `models/images/collector.py`.

    `doomed_until` while its bytes are being deleted, `gone_at` when they were.
    """

    __tablename__ = "remnants"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    doomed_until: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_remnants_since", "since", postgresql_where=text("gone_at IS NULL")),
        Index(
            "ix_remnants_waiting", "project_id", "since", postgresql_where=text("gone_at IS NULL")
        ),
        Index("ix_remnants_gone_at", "gone_at", postgresql_where=text("gone_at IS NOT NULL")),
    )
