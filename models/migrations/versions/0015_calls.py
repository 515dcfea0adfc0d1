"""Keep who is to answer a synchronous call, and under which names a project knows its models."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("others", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("retry_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lost_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "answered_at IS NULL OR lost_at IS NULL", name=op.f("ck_calls_answered_or_lost")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_calls_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_fingerprint"), "calls", ["fingerprint"])
    op.add_column("projects", sa.Column("aliases", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("projects", "aliases")
    op.drop_table("calls")
