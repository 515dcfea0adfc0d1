"""Tell the provider's downloads from our store; keep what was paid and could not be read."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BEFORE = (
    "'queue', 'backoff', 'fair_share', 'provider_limit', 'project_cap', 'concurrency_key', "
    "'provider_down', 'wallet_empty', 'provider_key', 'unknown_charge', 'budget', 'following', "
    "'storage', 'paused'"
)


def upgrade() -> None:
    _waiting_reason(f"{_BEFORE}, 'image_download'")
    op.create_table(
        "evidence",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(body) <= 65536", name=op.f("ck_evidence_bound")),
        sa.CheckConstraint("length >= octet_length(body)", name=op.f("ck_evidence_length")),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempts.id"],
            name=op.f("fk_evidence_attempt_id_attempts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_evidence")),
    )


def downgrade() -> None:
    op.drop_table("evidence")
    op.execute("UPDATE jobs SET waiting_reason = 'storage' WHERE waiting_reason = 'image_download'")
    _waiting_reason(_BEFORE)


def _waiting_reason(words: str) -> None:
    op.drop_constraint(op.f("ck_jobs_waiting_reason"), "jobs", type_="check")
    op.create_check_constraint(
        op.f("ck_jobs_waiting_reason"), "jobs", f"waiting_reason IN ({words})"
    )
