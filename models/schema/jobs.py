"""Tables: jobs."""

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
from models.schema.batching import BATCHED
from models.schema.defaults import EMPTY_LIST, EMPTY_MAP, NOW
from models.schema.queue import QUEUED
from models.states import (
    JOB_IN_FLIGHT,
    TERMINAL,
    CancelOutcome,
    OnUnknown,
    Phase,
    Priority,
    Status,
    WaitingReason,
    among,
    one_of,
)


class Job(Base):
    """One image to be generated, from acceptance to a terminal state."""

    __tablename__ = "jobs"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    # Where it stands. `version` grows with every visible change: it is the ETag and the sequence.
    status: Mapped[str] = mapped_column(server_default="queued")
    phase: Mapped[str] = mapped_column(server_default="call")
    version: Mapped[int] = mapped_column(server_default="1")
    fence: Mapped[int] = mapped_column(server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    counted: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    waiting_reason: Mapped[str | None]
    # NULL while a job waits for something other than time (`waiting_reason` says what).
    run_after: Mapped[datetime | None] = mapped_column(server_default=NOW)
    rank: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    keep_until: Mapped[datetime | None]  # while the URL of an image that is paid and not kept lives
    erased_at: Mapped[datetime | None]

    # What was asked for.
    model: Mapped[str]
    input: Mapped[dict[str, object]]
    input_hash: Mapped[bytes]
    large: Mapped[bool] = mapped_column(server_default=text("false"))
    priority: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(server_default=EMPTY_LIST)
    # `meta`, for SQLAlchemy keeps the name `metadata` for itself.
    meta: Mapped[dict[str, str]] = mapped_column("metadata", server_default=EMPTY_MAP)
    customer: Mapped[str | None]
    concurrency_key: Mapped[str | None]
    webhook_url: Mapped[str | None]
    webhook_events: Mapped[list[str] | None]
    queue_expires_at: Mapped[datetime]
    deadline: Mapped[datetime | None]
    max_attempts: Mapped[int]
    max_cost: Mapped[int]
    on_unknown_charge: Mapped[str]
    idempotency_route: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes | None]
    retried_from: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    # The submission's place in its submitter's trace, as W3C writes it; NULL where nobody traces it.
    traceparent: Mapped[str | None]
    # A follower waits for its leader, which has the same input; both asked for `exact` reuse.
    reuse: Mapped[str] = mapped_column(server_default="never")
    leader_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    # A leader that has ended, while the end of its followers is still to be seen to.
    followed: Mapped[bool] = mapped_column(server_default=text("false"))
    reused_from: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))

    # Its batch or group, its row there, and its name in a batch. `allotted` is its part of what the batch
    # has committed; `tallied` once its end has been told off.
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("batches.id"))
    batch_row: Mapped[int | None]
    custom_id: Mapped[str | None]
    allotted: Mapped[int | None]
    tallied: Mapped[bool] = mapped_column(server_default=text("false"))

    # The budget that had no room for its next hold; it says nothing but while the job waits for that.
    budget_id: Mapped[UUID | None]

    # What it costs, and how it ended.
    estimate: Mapped[int]
    held: Mapped[int] = mapped_column(server_default="0")
    charged: Mapped[int] = mapped_column(server_default="0")
    cancel_requested_at: Mapped[datetime | None]
    cancel_outcome: Mapped[str | None]
    error: Mapped[dict[str, object] | None]

    __table_args__ = (
        CheckConstraint(one_of("status", Status), "status"),
        CheckConstraint(one_of("phase", Phase), "phase"),
        CheckConstraint(one_of("priority", Priority), "priority"),
        CheckConstraint(one_of("on_unknown_charge", OnUnknown), "on_unknown_charge"),
        CheckConstraint(
            f"({among('status', TERMINAL)}) = (finished_at IS NOT NULL)", "terminal_has_end"
        ),
        CheckConstraint(f"({JOB_IN_FLIGHT}) = (lease_until IS NOT NULL)", "lease_has_owner"),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", "failed_has_error"),
        CheckConstraint(
            "num_nonnulls(idempotency_route, idempotency_key, fingerprint) IN (0, 3)",
            "idempotency",
        ),
        CheckConstraint(one_of("waiting_reason", WaitingReason), "waiting_reason"),
        CheckConstraint(
            "status <> 'queued' OR run_after IS NOT NULL OR waiting_reason IS NOT NULL",
            "waits_for_something",
        ),
        CheckConstraint(one_of("cancel_outcome", CancelOutcome), "cancel_outcome"),
        CheckConstraint(
            "(cancel_requested_at IS NULL) = (cancel_outcome IS NULL)", "cancel_has_outcome"
        ),
        CheckConstraint("cancel_outcome <> 'pending' OR finished_at IS NULL", "cancel_is_answered"),
        CheckConstraint("held >= 0", "held"),
        CheckConstraint("reuse IN ('never', 'exact')", "reuse"),
        CheckConstraint("leader_id IS NULL OR reuse = 'exact'", "followers_reuse"),
        CheckConstraint("erased_at IS NULL OR finished_at IS NOT NULL", "erased_is_finished"),
        CheckConstraint("NOT followed OR finished_at IS NOT NULL", "followed_is_finished"),
        CheckConstraint("num_nonnulls(batch_id, batch_row, allotted) IN (0, 3)", "batch"),
        CheckConstraint("custom_id IS NULL OR batch_id IS NOT NULL", "custom_id_has_batch"),
        UniqueConstraint("project_id", "idempotency_route", "idempotency_key"),
        Index("ix_jobs_newest", "project_id", "id"),
        # What support has in hand, and erasures go by. Who names no customer and no metadata pays for none.
        Index(
            "ix_jobs_customer",
            "project_id",
            "customer",
            "id",
            postgresql_where=text("customer IS NOT NULL"),
        ),
        Index(
            "ix_jobs_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
            postgresql_where=text("metadata <> '{}'::jsonb"),
        ),
        Index("ix_jobs_erased", "project_id", "id", postgresql_where=text("erased_at IS NOT NULL")),
        *BATCHED,
        *QUEUED,
        Index(
            "ix_jobs_finished_at",
            "project_id",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        Index(
            "uq_jobs_one_leader",
            "project_id",
            "input_hash",
            unique=True,
            postgresql_where=text("reuse = 'exact' AND leader_id IS NULL AND finished_at IS NULL"),
        ),
        Index(
            "ix_jobs_reusable",
            "project_id",
            "input_hash",
            "id",
            postgresql_where=text("status = 'succeeded'"),
        ),
        Index("ix_jobs_leader_id", "leader_id", postgresql_where=text("leader_id IS NOT NULL")),
        Index(
            "ix_jobs_following",
            "leader_id",
            "id",
            postgresql_where=text("leader_id IS NOT NULL AND finished_at IS NULL"),
        ),
        Index("ix_jobs_followed", "project_id", "id", postgresql_where=text("followed")),
        # A DELETE of a job looks for the jobs that refer to it: without these, through the whole table.
        Index(
            "ix_jobs_retried_from",
            "retried_from",
            postgresql_where=text("retried_from IS NOT NULL"),
        ),
        Index(
            "ix_jobs_reused_from", "reused_from", postgresql_where=text("reused_from IS NOT NULL")
        ),
    )
