"""Keep prices that depend on the input, and what an operator lets a model without a price cost."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prices", sa.Column("variants", postgresql.JSONB(), nullable=True))
    op.add_column("prices", sa.Column("allowance", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    # A row that has nothing but the operator's allowance would be a price to the release before.
    op.execute(
        "DELETE FROM prices WHERE allowance IS NOT NULL AND quoted IS NULL AND taught IS NULL"
    )
    op.drop_column("prices", "allowance")
    op.drop_column("prices", "variants")
