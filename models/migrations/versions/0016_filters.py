"""Find the jobs of a customer, of an order, and those that were erased, whatever the history's length."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_customer",
        "jobs",
        ["project_id", "customer", "id"],
        unique=False,
        postgresql_where=sa.text("customer IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_metadata",
        "jobs",
        ["metadata"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
        postgresql_where=sa.text("metadata <> '{}'::jsonb"),
    )
    op.create_index(
        "ix_jobs_erased",
        "jobs",
        ["project_id", "id"],
        unique=False,
        postgresql_where=sa.text("erased_at IS NOT NULL"),
    )


def downgrade() -> None:
    for name in ("ix_jobs_erased", "ix_jobs_metadata", "ix_jobs_customer"):
        op.drop_index(name, table_name="jobs")
