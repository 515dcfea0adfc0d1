"""Keep files: pictures that a project draws from by name."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_files_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint(
            "project_id",
            "sha256",
            "customer",
            name=op.f("uq_files_project_id_sha256_customer"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index("ix_files_newest", "files", ["project_id", "id"])
    op.create_index("ix_files_expires_at", "files", ["expires_at"])
    op.create_index(
        "ix_files_customer",
        "files",
        ["project_id", "customer"],
        postgresql_where=sa.text("customer IS NOT NULL"),
    )


def downgrade() -> None:
    # What only a file refers to is found by its mark when the release before collects blobs.
    op.execute(
        "INSERT INTO remnants (project_id, sha256) SELECT DISTINCT project_id, sha256 FROM files "
        "ON CONFLICT DO NOTHING"
    )
    op.drop_table("files")
