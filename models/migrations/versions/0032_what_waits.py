"""Tell whether any job waits by an index that is of use for nothing else, whatever statistics say."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_waits",
        "jobs",
        ["phase", "run_after"],
        postgresql_where=sa.text(
            "status || '' = 'queued' AND (run_after IS NOT NULL OR waiting_reason = 'concurrency_key')"
        ),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_waits", "jobs")
