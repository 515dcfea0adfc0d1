"""Complete webhooks; add fair shares, the discovered limit, pauses and retention."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breakers",
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column(
            "last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("cause IN ('errors', 'lost')", name=op.f("ck_breakers_cause")),
        sa.CheckConstraint("failures >= 1", name=op.f("ck_breakers_failures")),
        sa.PrimaryKeyConstraint("cause", name=op.f("pk_breakers")),
    )
    op.create_table(
        "lanes",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slow", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_lanes")),
    )
    op.create_table(
        "limits",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("slow_start", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("calls >= 1", name=op.f("ck_limits_calls")),
        sa.CheckConstraint("id = 1", name=op.f("ck_limits_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limits")),
    )
    op.create_table(
        "pauses",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "paused_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("(scope = 'all') = (name = '')", name=op.f("ck_pauses_all_has_no_name")),
        sa.CheckConstraint("scope IN ('all', 'model', 'project')", name=op.f("ck_pauses_scope")),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pk_pauses")),
    )
    op.create_table(
        "turns",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_turns_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_turns")),
    )
    op.create_table(
        "remnants",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("doomed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("project_id", "sha256", name=op.f("pk_remnants")),
    )
    op.create_index(
        "ix_remnants_since",
        "remnants",
        ["since"],
        unique=False,
        postgresql_where=sa.text("gone_at IS NULL"),
    )
    op.create_index(
        "ix_remnants_gone_at",
        "remnants",
        ["gone_at"],
        unique=False,
        postgresql_where=sa.text("gone_at IS NOT NULL"),
    )
    op.create_table(
        "input_images",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_input_images_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "sha256", name=op.f("pk_input_images")),
    )
    op.create_index("ix_input_images_sha256", "input_images", ["sha256"], unique=False)
    # References that came inside the inputs of jobs which are there already.
    op.execute("""
        INSERT INTO input_images (job_id, sha256, project_id)
        SELECT DISTINCT jobs.id, substring(url FROM ';sha256=([0-9a-f]{64});'), jobs.project_id
          FROM jobs CROSS JOIN LATERAL jsonb_array_elements_text(
               CASE jsonb_typeof(jobs.input->'image_urls') WHEN 'array'
                    THEN jobs.input->'image_urls' ELSE '[]'::jsonb END) AS url
         WHERE url ~ '^data:image/[a-z]+;sha256=[0-9a-f]{64};length=[1-9]'
    """)
    op.create_index(
        "ix_jobs_retried_from",
        "jobs",
        ["retried_from"],
        unique=False,
        postgresql_where=sa.text("retried_from IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_reused_from",
        "jobs",
        ["reused_from"],
        unique=False,
        postgresql_where=sa.text("reused_from IS NOT NULL"),
    )
    op.create_index(
        "ix_attempts_sent_at", "attempts", ["sent_at"], unique=False, postgresql_using="brin"
    )
    op.add_column(
        "deliveries", sa.Column("tries_before", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.drop_index(op.f("ix_deliveries_endpoint_id"), table_name="deliveries")
    op.create_index("ix_deliveries_endpoint", "deliveries", ["endpoint_id", "id"], unique=False)
    op.add_column("endpoints", sa.Column("secret_old", sa.LargeBinary(), nullable=True))
    op.add_column("endpoints", sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("endpoints", sa.Column("rate_limit", sa.BigInteger(), nullable=True))
    op.add_column(
        "endpoints", sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "endpoints",
        sa.Column("failing_deliveries", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("images", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_images_expires_at",
        "images",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index("ix_images_sha256", "images", ["sha256"], unique=False)
    op.add_column("jobs", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index(
        op.f("ix_jobs_waiting"), table_name="jobs", postgresql_where="(status = 'queued'::text)"
    )
    op.create_index(
        "ix_jobs_key_waiting",
        "jobs",
        ["project_id", "concurrency_key", "rank", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND waiting_reason = 'concurrency_key'"),
    )
    op.create_index(
        "ix_jobs_paid",
        "jobs",
        ["run_after", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND phase = 'keep'"),
    )
    op.create_index(
        "ix_jobs_ready",
        "jobs",
        ["project_id", "model", "rank", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND run_after IS NOT NULL AND phase = 'call'"),
    )
    op.add_column("projects", sa.Column("cap", sa.BigInteger(), nullable=True))
    op.add_column(
        "projects", sa.Column("key_cap", sa.BigInteger(), server_default="1", nullable=False)
    )
    op.add_column(
        "projects",
        sa.Column("budgeted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.execute("UPDATE projects SET budgeted = true WHERE id IN (SELECT project_id FROM budgets)")
    op.create_check_constraint(op.f("ck_projects_cap"), "projects", "cap >= 1")
    op.create_check_constraint(op.f("ck_projects_key_cap"), "projects", "key_cap >= 1")
    op.create_check_constraint(op.f("ck_endpoints_rate_limit"), "endpoints", "rate_limit >= 1")
    op.create_check_constraint(
        op.f("ck_jobs_erased_is_finished"), "jobs", "erased_at IS NULL OR finished_at IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_column("projects", "budgeted")
    op.drop_column("projects", "key_cap")
    op.drop_column("projects", "cap")
    op.drop_index(
        "ix_jobs_ready",
        table_name="jobs",
        postgresql_where=sa.text("status = 'queued' AND run_after IS NOT NULL AND phase = 'call'"),
    )
    op.drop_index(
        "ix_jobs_paid",
        table_name="jobs",
        postgresql_where=sa.text("status = 'queued' AND phase = 'keep'"),
    )
    op.drop_index(
        "ix_jobs_key_waiting",
        table_name="jobs",
        postgresql_where=sa.text("status = 'queued' AND waiting_reason = 'concurrency_key'"),
    )
    op.create_index(
        op.f("ix_jobs_waiting"),
        "jobs",
        ["rank", "id"],
        unique=False,
        postgresql_where="(status = 'queued'::text)",
    )
    op.drop_index(
        "ix_jobs_reused_from",
        table_name="jobs",
        postgresql_where=sa.text("reused_from IS NOT NULL"),
    )
    op.drop_index(
        "ix_jobs_retried_from",
        table_name="jobs",
        postgresql_where=sa.text("retried_from IS NOT NULL"),
    )
    op.drop_table("input_images")
    op.drop_table("remnants")
    op.drop_column("jobs", "erased_at")
    op.drop_index("ix_images_sha256", table_name="images")
    op.drop_index(
        "ix_images_expires_at", table_name="images", postgresql_where=sa.text("removed_at IS NULL")
    )
    op.drop_column("images", "removed_at")
    op.drop_column("endpoints", "failing_deliveries")
    op.drop_column("endpoints", "failing_since")
    op.drop_column("endpoints", "rate_limit")
    op.drop_column("endpoints", "rotated_at")
    op.drop_column("endpoints", "secret_old")
    op.drop_index("ix_deliveries_endpoint", table_name="deliveries")
    op.create_index(op.f("ix_deliveries_endpoint_id"), "deliveries", ["endpoint_id"], unique=False)
    op.drop_column("deliveries", "tries_before")
    op.drop_index("ix_attempts_sent_at", table_name="attempts", postgresql_using="brin")
    op.drop_table("turns")
    op.drop_table("pauses")
    op.drop_table("limits")
    op.drop_table("lanes")
    op.drop_table("breakers")
