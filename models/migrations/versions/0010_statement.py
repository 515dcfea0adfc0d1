"""Keep what the account's own ledger said, and what our books were corrected by."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_lines",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("nth", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("booked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "kind IN ('MODEL_USAGE', 'REFUND', 'ADJUSTMENT')", name=op.f("ck_account_lines_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_lines")),
        sa.UniqueConstraint(
            "reference",
            "at",
            "kind",
            "credits",
            "nth",
            postgresql_nulls_not_distinct=True,
            name=op.f("uq_account_lines_reference_at_kind_credits_nth"),
        ),
    )
    indexes = {
        "attempt_id": ("attempt_id", "attempt_id IS NOT NULL"),
        "unbooked": ("id", "attempt_id IS NOT NULL AND NOT booked"),
        "nobodys": ("at", "attempt_id IS NULL"),
    }
    for name, (column, where) in indexes.items():
        op.create_index(
            f"ix_account_lines_{name}", "account_lines", [column], postgresql_where=sa.text(where)
        )
    op.add_column(
        "attempts", sa.Column("adjusted", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("attempts", "adjusted")
    op.drop_table("account_lines")
    op.execute("DELETE FROM duties WHERE name IN ('statement', 'statement_judged')")
