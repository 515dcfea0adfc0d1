"""Counts of jobs for Prometheus, made after the commit by the process that ends them.

All times are the database's: how long a job waited is known when it ends, and the same for all of them.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Protocol, get_args

from prometheus_client import Counter, Histogram

from models.schema import Job
from models.states import TERMINAL, Priority

# From an interactive job alone in its queue to one that waited for a budget's next day.
_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14_400, 86_400)
_FINISHED = Counter("darkroom_jobs_finished_total", "Jobs that ended", ["status"])
_SECONDS = Histogram(
    "darkroom_job_seconds",
    "From the acceptance of a job to its end",
    ["status"],
    buckets=_BUCKETS,
)
_WAIT_SECONDS = Histogram(
    "darkroom_job_wait_seconds",
    "From the acceptance of a job to its first start; observed when it ends",
    ["priority"],
    buckets=_BUCKETS,
)
for _status in TERMINAL:
    _FINISHED.labels(_status)  # a series from the start: the first of them is an increase too
    _SECONDS.labels(_status)
for _priority in get_args(Priority):
    _WAIT_SECONDS.labels(_priority)


class Tallied(Protocol):
    """A transaction, of either kind."""

    def tally(self, count: Callable[[], object]) -> None:
        """Count this after the commit."""
        ...


def ended(tx: Tallied, job: Job, finished_at: datetime) -> None:
    """Count a job that ends in this transaction."""
    seconds = (finished_at - job.created_at).total_seconds()
    waited = None if job.started_at is None else (job.started_at - job.created_at).total_seconds()
    tx.tally(partial(_count, job.status, job.priority, seconds, waited))


def _count(status: str, priority: str, seconds: float, waited: float | None) -> None:
    _FINISHED.labels(status).inc()
    _SECONDS.labels(status).observe(seconds)
    if waited is not None:
        _WAIT_SECONDS.labels(priority).observe(waited)
