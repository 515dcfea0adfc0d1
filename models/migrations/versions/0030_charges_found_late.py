"""Find the charges that were made in a time by when they were made, not by all that was booked since."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_ledger_made_at",
        "ledger",
        ["made_at"],
        postgresql_where=sa.text("made_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_ledger_made_at", "ledger")
