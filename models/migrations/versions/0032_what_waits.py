"""Tell whether any job waits by an index that is of use for nothing else, whatever statistics say.

One that somebody has made before is taken as it is, unless its making was broken off.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_BROKEN_OFF = sa.text(
    "SELECT EXISTS (SELECT FROM pg_index"
    " WHERE indexrelid = to_regclass('ix_jobs_waits') AND NOT indisvalid)"
)
_WAITS = sa.text(
    "status || '' = 'queued' AND (run_after IS NOT NULL OR waiting_reason = 'concurrency_key')"
)


def upgrade() -> None:
    if op.get_bind().scalar(_BROKEN_OFF):
        op.drop_index("ix_jobs_waits", "jobs")
    op.create_index(
        "ix_jobs_waits",
        "jobs",
        ["phase", "run_after"],
        postgresql_where=_WAITS,
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_waits", "jobs")
