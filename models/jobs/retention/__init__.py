"""Retention: what is deleted, by age (`expiring`) or because somebody asked for it (`erasing`).

Promises: charges, times and ids stay, and so do bytes that a kept image shares. A small batch at a time.
"""

from models.jobs.retention.expiring import (
    expire_images,
    expired_images,
    old_events,
    old_jobs,
    remove_batches,
    remove_deliveries,
    remove_jobs,
)

__all__ = [
    "erasing",
    "expire_images",
    "expired_images",
    "old_events",
    "old_jobs",
    "remove_batches",
    "remove_deliveries",
    "remove_jobs",
]
