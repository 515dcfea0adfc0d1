"""Find attempts and the ledger's lines by time through B-trees, of the ledger those of one project.

A BRIN index is summed up by pages: where retention has freed rows new ones are written, and such pages
seem to hold all times in between. Those that were there stay for the release before, which asks for the
ledger's lines of all projects. An index that somebody has made before is taken as it is, unless its
making was broken off (`docs/operating.md`).
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_BROKEN_OFF = sa.text(
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)"
)


def upgrade() -> None:
    # All that this migration and the next one lock, before either makes anything: whoever writes to several
    # of them may stand in the way of one lock while it waits behind another, and that costs nothing yet.
    op.execute("LOCK TABLE jobs, attempts, ledger IN SHARE MODE")
    _make("ix_attempts_by_time", "attempts", ["sent_at"])
    _make("ix_ledger_by_time", "ledger", ["project_id", "at"])


def _make(name: str, table: str, columns: list[str]) -> None:
    if op.get_bind().scalar(_BROKEN_OFF, {"name": name}):
        op.drop_index(name, table)
    op.create_index(name, table, columns, if_not_exists=True)


def downgrade() -> None:
    op.drop_index("ix_ledger_by_time", "ledger")
    op.drop_index("ix_attempts_by_time", "attempts")
