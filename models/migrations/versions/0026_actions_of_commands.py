"""Let an action be asked for by a command, which has no key."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("actions", "key_id", nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM actions WHERE key_id IS NULL")
    op.alter_column("actions", "key_id", nullable=False)
