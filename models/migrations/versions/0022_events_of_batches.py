"""Let the events of a batch be found: what they quote is forgotten with whom it is about."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("batch_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_events_batch_id",
        "events",
        ["batch_id"],
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_events_batch_id", table_name="events")
    op.drop_column("events", "batch_id")
