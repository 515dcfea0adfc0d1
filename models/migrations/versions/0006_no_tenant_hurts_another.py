"""Share what one project can make many of: followers, deliveries, budgets; set rows aside that fail."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FOLLOWS = "leader_id IS NOT NULL AND finished_at IS NULL"
_UNFUNDED = "status = 'queued' AND waiting_reason = 'budget'"


def upgrade() -> None:
    op.create_table(
        "set_aside",
        sa.Column("duty", sa.Text(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("again_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("failures >= 1", name=op.f("ck_set_aside_failures")),
        sa.PrimaryKeyConstraint("duty", "subject", name=op.f("pk_set_aside")),
    )
    op.add_column("api_keys", sa.Column("root_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_api_keys_root_id_api_keys"), "api_keys", "api_keys", ["root_id"], ["id"]
    )
    op.add_column(
        "endpoints",
        sa.Column("project_secret", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column(
        "jobs",
        sa.Column("followed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_jobs_followed_is_finished"), "jobs", "NOT followed OR finished_at IS NOT NULL"
    )
    op.create_index(
        "ix_jobs_following",
        "jobs",
        ["leader_id", "id"],
        unique=False,
        postgresql_where=sa.text(_FOLLOWS),
    )
    op.create_index(
        "ix_jobs_followed",
        "jobs",
        ["project_id", "id"],
        unique=False,
        postgresql_where=sa.text("followed"),
    )
    op.drop_index("ix_jobs_unfunded", table_name="jobs")
    op.create_index(
        "ix_jobs_unfunded",
        "jobs",
        ["project_id", "rank", "id"],
        unique=False,
        postgresql_where=sa.text(_UNFUNDED),
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["project_id", "lane", "next_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_waiting", table_name="deliveries")
    op.drop_index("ix_jobs_unfunded", table_name="jobs")
    op.create_index(
        "ix_jobs_unfunded",
        "jobs",
        ["rank", "id"],
        unique=False,
        postgresql_where=sa.text(_UNFUNDED),
    )
    op.drop_index("ix_jobs_followed", table_name="jobs")
    op.drop_index("ix_jobs_following", table_name="jobs")
    op.drop_constraint(op.f("ck_jobs_followed_is_finished"), "jobs", type_="check")
    op.drop_column("jobs", "followed")
    op.drop_column("endpoints", "project_secret")
    op.drop_constraint(op.f("fk_api_keys_root_id_api_keys"), "api_keys", type_="foreignkey")
    op.drop_column("api_keys", "root_id")
    op.drop_table("set_aside")
