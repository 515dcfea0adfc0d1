"""Add budgets, prices, the wallet and reuse."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gates", sa.Column("half_open_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("gates", sa.Column("probe_id", sa.Uuid(), nullable=True))
    op.create_check_constraint(
        op.f("ck_gates_probe_is_half_open"), "gates", "probe_id IS NULL OR half_open_at IS NOT NULL"
    )
    op.create_table(
        "prices",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("quoted", sa.BigInteger(), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_prices")),
    )
    op.create_table(
        "wallet",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("state IN ('ok', 'low', 'empty')", name=op.f("ck_wallet_state")),
        sa.CheckConstraint("id = 1", name=op.f("ck_wallet_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallet")),
    )
    op.create_table(
        "budgets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("limit", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(scope = 'customer') = (customer IS NOT NULL)",
            name=op.f("ck_budgets_customer_scope_has_one"),
        ),
        sa.CheckConstraint(
            "(scope = 'key') = (key_id IS NOT NULL)", name=op.f("ck_budgets_key_scope_has_key")
        ),
        sa.CheckConstraint("mode IN ('hard', 'soft')", name=op.f("ck_budgets_mode")),
        sa.CheckConstraint(
            "scope IN ('project', 'key', 'customer')", name=op.f("ck_budgets_scope")
        ),
        sa.CheckConstraint('"limit" >= 0', name=op.f("ck_budgets_limit")),
        sa.CheckConstraint(
            "\"window\" IN ('day', 'month', 'total')", name=op.f("ck_budgets_window")
        ),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_budgets_key_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_budgets_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint(
            "project_id",
            "scope",
            "key_id",
            "customer",
            "window",
            name=op.f("uq_budgets_project_id_scope_key_id_customer_window"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "budget_windows",
        sa.Column("budget_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("told", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["budget_id"],
            ["budgets.id"],
            name=op.f("fk_budget_windows_budget_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("budget_id", "starts_at", name=op.f("pk_budget_windows")),
    )
    op.add_column("jobs", sa.Column("reuse", sa.Text(), server_default="never", nullable=False))
    op.add_column("jobs", sa.Column("leader_id", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("reused_from", sa.Uuid(), nullable=True))
    op.create_check_constraint(op.f("ck_jobs_reuse"), "jobs", "reuse IN ('never', 'exact')")
    op.create_check_constraint(
        op.f("ck_jobs_followers_reuse"), "jobs", "leader_id IS NULL OR reuse = 'exact'"
    )
    op.create_index(
        "ix_jobs_leader_id",
        "jobs",
        ["leader_id"],
        unique=False,
        postgresql_where=sa.text("leader_id IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_unfunded",
        "jobs",
        ["rank", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND waiting_reason = 'budget'"),
    )
    op.create_index(
        "ix_jobs_reusable",
        "jobs",
        ["project_id", "input_hash", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'succeeded'"),
    )
    op.create_index(
        "uq_jobs_one_leader",
        "jobs",
        ["project_id", "input_hash"],
        unique=True,
        postgresql_where=sa.text("reuse = 'exact' AND leader_id IS NULL AND finished_at IS NULL"),
    )
    op.create_foreign_key(
        op.f("fk_jobs_reused_from"), "jobs", "jobs", ["reused_from"], ["id"], ondelete="SET NULL"
    )
    op.create_foreign_key(
        op.f("fk_jobs_leader_id"), "jobs", "jobs", ["leader_id"], ["id"], ondelete="SET NULL"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_jobs_leader_id"), "jobs", type_="foreignkey")
    op.drop_constraint(op.f("fk_jobs_reused_from"), "jobs", type_="foreignkey")
    op.drop_index(
        "uq_jobs_one_leader",
        table_name="jobs",
        postgresql_where=sa.text("reuse = 'exact' AND leader_id IS NULL AND finished_at IS NULL"),
    )
    op.drop_index("ix_jobs_unfunded", table_name="jobs")
    op.drop_index(
        "ix_jobs_reusable", table_name="jobs", postgresql_where=sa.text("status = 'succeeded'")
    )
    op.drop_index(
        "ix_jobs_leader_id", table_name="jobs", postgresql_where=sa.text("leader_id IS NOT NULL")
    )
    op.drop_column("jobs", "reused_from")
    op.drop_column("jobs", "leader_id")
    op.drop_column("jobs", "reuse")
    op.drop_table("budget_windows")
    op.drop_table("budgets")
    op.drop_table("wallet")
    op.drop_table("prices")
    op.drop_constraint(op.f("ck_gates_probe_is_half_open"), "gates", type_="check")
    op.drop_column("gates", "probe_id")
    op.drop_column("gates", "half_open_at")
