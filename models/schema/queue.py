"""Tables: whose turn it is; and the indexes by which jobs are found that wait, or are in flight."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.states import (
    JOB_IN_FLIGHT,
    JOB_PAID,
    JOB_PARKED,
    JOB_READY,
    JOB_UNCALLED,
    JOB_UNFUNDED,
    JOB_WAITS,
)

# Of the table of jobs.
QUEUED = (
    # What may be called for: the first of each project and model is one look away.
    Index(
        "ix_jobs_ready",
        "project_id",
        "model",
        "rank",
        "id",
        postgresql_where=text(JOB_READY),
    ),
    Index(
        "ix_jobs_paid",
        "run_after",
        "id",
        postgresql_where=text(JOB_PAID),
    ),
    Index(
        "ix_jobs_key_waiting",
        "project_id",
        "concurrency_key",
        "rank",
        "id",
        postgresql_where=text(JOB_PARKED),
    ),
    Index(
        "ix_jobs_unfunded",
        "project_id",
        "budget_id",
        "rank",
        "id",
        postgresql_where=text(JOB_UNFUNDED),
    ),
    Index("ix_jobs_waits", "phase", "run_after", postgresql_where=text(JOB_WAITS)),
    Index("ix_jobs_backlog", "project_id", postgresql_where=text("status = 'queued'")),
    Index(
        "ix_jobs_queue_expires_at",
        "project_id",
        "queue_expires_at",
        postgresql_where=text(JOB_UNCALLED),
    ),
    Index(
        "ix_jobs_deadline",
        "project_id",
        "deadline",
        postgresql_where=text(f"{JOB_UNCALLED} AND deadline IS NOT NULL"),
    ),
    Index(
        "ix_jobs_lease_until",
        "lease_until",
        postgresql_where=text(JOB_IN_FLIGHT),
    ),
)


class Turn(Base):
    """How often a project has had its turn: the project that waits and has had fewest is next."""

    __tablename__ = "turns"
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    turn: Mapped[int]
