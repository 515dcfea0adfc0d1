"""Let several charges teach a price, and never one alone."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prices", sa.Column("taught", sa.BigInteger(), nullable=True))
    op.add_column("prices", sa.Column("candidate", sa.BigInteger(), nullable=True))
    jobs = postgresql.ARRAY(sa.Uuid())
    op.add_column(
        "prices",
        sa.Column("witnesses", jobs, server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    for name in ("witnesses", "candidate", "taught"):
        op.drop_column("prices", name)
