"""Indexes of the rows of batches: each is of a part that is looked for, and no other job is in any."""

from sqlalchemy import Index, text

from models.states import IN_BATCH, ROW_IN_QUEUE, ROW_READY, ROW_UNHELD, ROW_UNKNOWN, ROW_UNTOLD

BATCHED = (
    Index(
        "uq_jobs_batch_row", "batch_id", "batch_row", unique=True, postgresql_where=text(IN_BATCH)
    ),
    Index(
        "uq_jobs_custom_id",
        "batch_id",
        "custom_id",
        unique=True,
        postgresql_where=text("custom_id IS NOT NULL"),
    ),
    Index(
        "ix_jobs_batch_ready",
        "batch_id",
        "batch_row",
        postgresql_where=text(f"{IN_BATCH} AND {ROW_READY}"),
    ),
    Index(
        "ix_jobs_batch_unheld",
        "batch_id",
        "batch_row",
        postgresql_where=text(f"{IN_BATCH} AND {ROW_UNHELD}"),
    ),
    Index(
        "ix_jobs_batch_queued",
        "batch_id",
        "batch_row",
        postgresql_where=text(f"{IN_BATCH} AND {ROW_IN_QUEUE}"),
    ),
    Index(
        "ix_jobs_batch_untold", "batch_id", postgresql_where=text(f"{IN_BATCH} AND {ROW_UNTOLD}")
    ),
    Index(
        "ix_jobs_batch_unknown", "batch_id", postgresql_where=text(f"{IN_BATCH} AND {ROW_UNKNOWN}")
    ),
)
