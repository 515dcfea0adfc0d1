"""Keep erasures, and afterwards their proof."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("about", postgresql.JSONB(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), server_default="jobs", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "next_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("rows_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("line", sa.BigInteger(), nullable=True),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "counts", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("jobs_digest", sa.LargeBinary(), nullable=False),
        sa.Column("idempotency_hash", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "subject IN ('customer', 'jobs', 'metadata')", name=op.f("ck_erasures_subject")
        ),
        sa.CheckConstraint(
            "phase IN ('jobs', 'ledger', 'usage', 'traces', 'images', 'completed')",
            name=op.f("ck_erasures_phase"),
        ),
        sa.CheckConstraint(
            "(phase = 'completed') = (finished_at IS NOT NULL)",
            name=op.f("ck_erasures_completed_has_end"),
        ),
        sa.CheckConstraint(
            "(phase IN ('images', 'completed')) = (about IS NULL)",
            name=op.f("ck_erasures_forgotten_with_its_rows"),
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_erasures_key_id_api_keys")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_erasures_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sa.UniqueConstraint(
            "project_id",
            "idempotency_hash",
            name=op.f("uq_erasures_project_id_idempotency_hash"),
        ),
    )
    op.create_index("ix_erasures_newest", "erasures", ["project_id", "id"])
    op.create_index("ix_erasures_digest", "erasures", ["project_id", "digest"])
    op.create_index(
        "ix_erasures_due",
        "erasures",
        ["project_id", "next_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("erasures")
