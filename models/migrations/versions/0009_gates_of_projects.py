"""Close a gate for one project, remember who probed it, and whose calls went wrong."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")


def upgrade() -> None:
    op.drop_constraint(op.f("pk_gates"), "gates", type_="primary")
    op.add_column(
        "gates", sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)
    )
    op.create_primary_key(op.f("pk_gates"), "gates", ["id"])
    op.add_column("gates", sa.Column("project_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_gates_project_id_projects"),
        "gates",
        "projects",
        ["project_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.add_column(
        "gates",
        sa.Column(
            "probed", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    op.add_column("gates", sa.Column("refused_by", sa.Uuid(), nullable=True))
    op.create_unique_constraint(
        op.f("uq_gates_reason_project_id"),
        "gates",
        ["reason", "project_id"],
        postgresql_nulls_not_distinct=True,
    )
    op.add_column(
        "breakers",
        sa.Column("since", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
    )
    op.create_table(
        "project_breakers",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("share", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.CheckConstraint("cause IN ('errors', 'lost')", name=op.f("ck_project_breakers_cause")),
        sa.CheckConstraint(
            "failures >= share AND share >= 1", name=op.f("ck_project_breakers_failures")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_project_breakers_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "cause", name=op.f("pk_project_breakers")),
    )


def downgrade() -> None:
    op.drop_table("project_breakers")
    op.drop_column("breakers", "since")
    op.execute("DELETE FROM gates WHERE project_id IS NOT NULL")
    op.drop_constraint(op.f("uq_gates_reason_project_id"), "gates", type_="unique")
    op.drop_constraint(op.f("pk_gates"), "gates", type_="primary")
    op.drop_column("gates", "refused_by")
    op.drop_column("gates", "probed")
    op.drop_column("gates", "project_id")
    op.drop_column("gates", "id")
    op.create_primary_key(op.f("pk_gates"), "gates", ["reason"])
