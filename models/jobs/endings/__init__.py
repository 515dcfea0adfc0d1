"""Endings: the last arrow of every job, and what it means for the jobs that follow it.

`closing` is the one UPDATE by which a job ends; `ending` says when it is canceled, failed, or done with a
late image, `expiring` when it is too late; `following` is the reuse of an identical job's image.
Promises: a job ends once, with its event, its deliveries and its hold released in the same transaction.
Never changes an attempt.
"""

__all__ = ["closing", "ending", "expiring", "following"]
