"""Keep what was used in each hour, for reports on long times."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COUNTED = (
    "submitted",
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "attempts",
    "charged",
    "saved",
)


def upgrade() -> None:
    op.create_table(
        "usage_hours",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in _COUNTED
        ),
        sa.CheckConstraint(
            "mod(extract(epoch FROM hour), 3600) = 0", name=op.f("ck_usage_hours_hour")
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_usage_hours_key_id_api_keys")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_usage_hours_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_hours")),
        sa.UniqueConstraint(
            "project_id",
            "hour",
            "key_id",
            "model",
            "customer",
            postgresql_nulls_not_distinct=True,
            name=op.f("uq_usage_hours_project_id_hour_key_id_model_customer"),
        ),
    )


def downgrade() -> None:
    op.drop_table("usage_hours")
    op.execute("DELETE FROM duties WHERE name = 'fold'")
