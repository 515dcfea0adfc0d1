"""Tables: batches and groups, which are jobs that were asked for together."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import EMPTY_MAP, NOW
from models.states import BATCH_OVER, BatchKind, BatchStatus, PauseCause, among, one_of


class Batch(Base):
    """Jobs that were accepted together, as one decision about money; a group is a small one.

    The counts are of rows that have ended, as the dispatcher has told them off. `committed` is what its
    rows hold or were charged, or may have been; `settled` is the part of those that have ended.
    """

    __tablename__ = "batches"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    kind: Mapped[str]

    # Where it stands. `version` grows with every change that is shown: it is the ETag.
    status: Mapped[str] = mapped_column(server_default="running")
    paused_for: Mapped[str | None]
    version: Mapped[int] = mapped_column(server_default="1")
    cancel_requested_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    # What was asked for.
    meta: Mapped[dict[str, str]] = mapped_column("metadata", server_default=EMPTY_MAP)
    total: Mapped[int]
    skipped: Mapped[int] = mapped_column(server_default="0")
    priority: Mapped[str | None]  # in place of its rows' own, since somebody changed it
    max_cost: Mapped[int | None]
    stop_after: Mapped[int | None]  # so many failures
    webhook_url: Mapped[str | None]
    webhook_events: Mapped[list[str] | None]
    retried_from: Mapped[UUID | None] = mapped_column(ForeignKey("batches.id", ondelete="SET NULL"))
    idempotency_route: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes | None]

    # What has become of it.
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    canceled: Mapped[int] = mapped_column(server_default="0")
    expired: Mapped[int] = mapped_column(server_default="0")
    # Of the canceled: charged, or perhaps.
    too_late: Mapped[int] = mapped_column(server_default="0")
    errors: Mapped[dict[str, object]] = mapped_column(server_default=EMPTY_MAP)  # by code
    committed: Mapped[int] = mapped_column(server_default="0")
    settled: Mapped[int] = mapped_column(server_default="0")
    told: Mapped[int] = mapped_column(server_default="0")  # the percentage last announced

    __table_args__ = (
        CheckConstraint(one_of("kind", BatchKind), "kind"),
        CheckConstraint(one_of("status", BatchStatus), "status"),
        CheckConstraint(one_of("paused_for", PauseCause), "paused_for"),
        CheckConstraint("(status = 'paused') = (paused_for IS NOT NULL)", "paused_has_cause"),
        CheckConstraint(
            f"({among('status', BATCH_OVER)}) = (finished_at IS NOT NULL)", "over_has_end"
        ),
        CheckConstraint("succeeded + failed + canceled + expired <= total", "counts"),
        CheckConstraint(
            "num_nonnulls(idempotency_route, idempotency_key, fingerprint) IN (0, 3)", "idempotency"
        ),
        UniqueConstraint("project_id", "idempotency_route", "idempotency_key"),
        Index("ix_batches_newest", "project_id", "id"),
        Index("ix_batches_unfinished", "id", postgresql_where=text("finished_at IS NULL")),
        Index(
            "ix_batches_retried_from",
            "retried_from",
            postgresql_where=text("retried_from IS NOT NULL"),
        ),
    )
