"""Let jobs be asked for together: batches and groups."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BEFORE = (
    "'queue', 'backoff', 'fair_share', 'provider_limit', 'project_cap', 'concurrency_key', "
    "'provider_down', 'wallet_empty', 'provider_key', 'unknown_charge', 'budget', 'following', "
    "'storage', 'image_download', 'paused'"
)
_WAITS = "batch_id IS NOT NULL AND status = 'queued' AND waiting_reason = 'batch'"
_ENDED = "batch_id IS NOT NULL AND finished_at IS NOT NULL"
_INDEXES = {
    "uq_jobs_batch_row": (["batch_id", "batch_row"], "batch_id IS NOT NULL"),
    "uq_jobs_custom_id": (["batch_id", "custom_id"], "custom_id IS NOT NULL"),
    "ix_jobs_batch_ready": (
        ["batch_id", "batch_row"],
        f"{_WAITS} AND attempt = 0 AND held > 0",
    ),
    "ix_jobs_batch_unheld": (
        ["batch_id", "batch_row"],
        f"{_WAITS} AND (attempt > 0 OR held = 0)",
    ),
    "ix_jobs_batch_queued": (
        ["batch_id", "batch_row"],
        "batch_id IS NOT NULL AND status = 'queued' AND waiting_reason <> 'batch'",
    ),
    "ix_jobs_batch_untold": (
        ["batch_id"],
        f"{_ENDED} AND (NOT tallied OR allotted <> charged + held)",
    ),
    "ix_jobs_batch_unknown": (
        ["batch_id"],
        f"{_ENDED} AND held > 0",
    ),
}


def upgrade() -> None:
    now = sa.text("now()")
    counts = (
        "succeeded",
        "failed",
        "canceled",
        "expired",
        "too_late",
        "committed",
        "settled",
        "told",
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("paused_for", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("priority", sa.Text(), nullable=True),
        sa.Column("max_cost", sa.BigInteger(), nullable=True),
        sa.Column("stop_after", sa.BigInteger(), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_events", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("retried_from", sa.Uuid(), nullable=True),
        sa.Column("idempotency_route", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("errors", postgresql.JSONB(), server_default="{}", nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in counts),
        sa.CheckConstraint("kind IN ('batch', 'group')", name=op.f("ck_batches_kind")),
        sa.CheckConstraint(
            "status IN ('running', 'paused', 'canceling', 'completed', 'canceled')",
            name=op.f("ck_batches_status"),
        ),
        sa.CheckConstraint(
            "paused_for IN ('request', 'max_cost', 'failures')", name=op.f("ck_batches_paused_for")
        ),
        sa.CheckConstraint(
            "(status = 'paused') = (paused_for IS NOT NULL)",
            name=op.f("ck_batches_paused_has_cause"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'canceled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_batches_over_has_end"),
        ),
        sa.CheckConstraint(
            "succeeded + failed + canceled + expired <= total", name=op.f("ck_batches_counts")
        ),
        sa.CheckConstraint(
            "num_nonnulls(idempotency_route, idempotency_key, fingerprint) IN (0, 3)",
            name=op.f("ck_batches_idempotency"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_batches_project_id_projects")
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_batches_key_id_api_keys")
        ),
        sa.ForeignKeyConstraint(
            ["retried_from"],
            ["batches.id"],
            name=op.f("fk_batches_retried_from_batches"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint(
            "project_id",
            "idempotency_route",
            "idempotency_key",
            name=op.f("uq_batches_project_id_idempotency_route_idempotency_key"),
        ),
    )
    op.create_index("ix_batches_newest", "batches", ["project_id", "id"])
    op.create_index(
        "ix_batches_unfinished", "batches", ["id"], postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_index(
        "ix_batches_retried_from",
        "batches",
        ["retried_from"],
        postgresql_where=sa.text("retried_from IS NOT NULL"),
    )
    op.add_column("jobs", sa.Column("batch_id", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("batch_row", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("custom_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("allotted", sa.BigInteger(), nullable=True))
    op.add_column(
        "jobs", sa.Column("tallied", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_foreign_key(op.f("fk_jobs_batch_id_batches"), "jobs", "batches", ["batch_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_jobs_batch"), "jobs", "num_nonnulls(batch_id, batch_row, allotted) IN (0, 3)"
    )
    op.create_check_constraint(
        op.f("ck_jobs_custom_id_has_batch"), "jobs", "custom_id IS NULL OR batch_id IS NOT NULL"
    )
    for name, (columns, where) in _INDEXES.items():
        op.create_index(
            name, "jobs", columns, unique=name.startswith("uq"), postgresql_where=sa.text(where)
        )
    _waiting_reason(f"{_BEFORE}, 'batch'")


def downgrade() -> None:
    op.execute(
        "UPDATE jobs SET waiting_reason = 'queue', run_after = coalesce(run_after, now()) "
        "WHERE waiting_reason = 'batch'"
    )
    _waiting_reason(_BEFORE)
    for name in reversed(_INDEXES):
        op.drop_index(name, table_name="jobs")
    for name in ("tallied", "allotted", "custom_id", "batch_row", "batch_id"):
        op.drop_column("jobs", name)
    op.drop_table("batches")


def _waiting_reason(words: str) -> None:
    op.drop_constraint(op.f("ck_jobs_waiting_reason"), "jobs", type_="check")
    op.create_check_constraint(
        op.f("ck_jobs_waiting_reason"), "jobs", f"waiting_reason IN ({words})"
    )
