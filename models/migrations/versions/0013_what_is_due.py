"""Find what is due by one look at an index: deliveries, and jobs that cannot end by their deadline."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_PENDING = sa.text("state = 'pending'")
_HURRIED = sa.text("deadline IS NOT NULL AND status IN ('queued', 'released')")


def upgrade() -> None:
    op.create_index(
        "ix_deliveries_next_at", "deliveries", ["next_at"], unique=False, postgresql_where=_PENDING
    )
    op.drop_index("ix_deliveries_due", table_name="deliveries")
    op.create_index(
        "ix_jobs_deadline", "jobs", ["deadline"], unique=False, postgresql_where=_HURRIED
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_deadline", table_name="jobs")
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["lane", "next_at"],
        unique=False,
        postgresql_where=_PENDING,
    )
    op.drop_index("ix_deliveries_next_at", table_name="deliveries")
