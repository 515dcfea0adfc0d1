"""Look at each project's own late jobs, lines for budgets and blobs, however many the others have."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_UNCALLED = "status IN ('queued', 'released') AND phase = 'call'"
_NOT_STARTED = "status IN ('queued', 'released')"
_UNFUNDED = sa.text("status = 'queued' AND waiting_reason = 'budget'")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("budget_id", sa.Uuid(), nullable=True))
    for name in ("ix_jobs_unfunded", "ix_jobs_queue_expires_at", "ix_jobs_deadline"):
        op.drop_index(name, table_name="jobs")
    op.create_index(
        "ix_jobs_unfunded",
        "jobs",
        ["project_id", "budget_id", "rank", "id"],
        postgresql_where=_UNFUNDED,
    )
    op.create_index(
        "ix_jobs_queue_expires_at",
        "jobs",
        ["project_id", "queue_expires_at"],
        postgresql_where=sa.text(_UNCALLED),
    )
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["project_id", "deadline"],
        postgresql_where=sa.text(f"{_UNCALLED} AND deadline IS NOT NULL"),
    )
    op.create_index(
        "ix_remnants_waiting",
        "remnants",
        ["project_id", "since"],
        postgresql_where=sa.text("gone_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_remnants_waiting", table_name="remnants")
    for name in ("ix_jobs_unfunded", "ix_jobs_queue_expires_at", "ix_jobs_deadline"):
        op.drop_index(name, table_name="jobs")
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["deadline"],
        postgresql_where=sa.text(f"deadline IS NOT NULL AND {_NOT_STARTED}"),
    )
    op.create_index(
        "ix_jobs_queue_expires_at",
        "jobs",
        ["queue_expires_at"],
        postgresql_where=sa.text(_NOT_STARTED),
    )
    op.create_index(
        "ix_jobs_unfunded", "jobs", ["project_id", "rank", "id"], postgresql_where=_UNFUNDED
    )
    op.drop_column("jobs", "budget_id")
