"""Reading: one job with all that belongs to it, pages of many, a search, and the feed of changes.

Promises: a page costs the same however many jobs there are. Never writes.
"""

from models.jobs.reading.snapshots import (
    ATTEMPTS,
    Snapshot,
    demanded,
    finished,
    listing,
    read,
    read_several,
    read_versions,
    snapshots,
    with_clock,
)

__all__ = [
    "ATTEMPTS",
    "Snapshot",
    "demanded",
    "exporting",
    "feed",
    "filtering",
    "finished",
    "flow",
    "listing",
    "read",
    "read_several",
    "read_versions",
    "searching",
    "snapshots",
    "with_clock",
]
