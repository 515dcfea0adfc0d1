"""Index when jobs ended and when the ledger was written, for reports on a part of the history."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_finished_at",
        "jobs",
        ["project_id", "finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index("ix_ledger_at", "ledger", ["at"], unique=False, postgresql_using="brin")


def downgrade() -> None:
    op.drop_index("ix_ledger_at", table_name="ledger", postgresql_using="brin")
    op.drop_index(
        "ix_jobs_finished_at",
        table_name="jobs",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
