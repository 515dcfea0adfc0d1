"""Reading: one job with all that belongs to it, pages of many, a search, and the feed of changes.

Promises: a page costs the same however many jobs there are. Never writes.
"""

from models.jobs.reading.snapshots import (
    ATTEMPTS,
    Snapshot,
    finished,
    listing,
    read,
    read_version,
    snapshots,
    with_clock,
)

__all__ = [
    "ATTEMPTS",
    "Snapshot",
    "exporting",
    "feed",
    "filtering",
    "finished",
    "flow",
    "listing",
    "read",
    "read_version",
    "searching",
    "snapshots",
    "with_clock",
]
