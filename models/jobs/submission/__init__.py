"""Submission: how a job comes to be, once, whatever the client repeats.

`candidates` has what is known of a job before it is there, and `inserting` the one statement that writes
jobs and their holds; `admitting` runs it alone, for many at once, `submitting` in a transaction that looks
at budgets, reuse and references first. `retrying` makes a new job of a finished one; `calls` lets the
repetition of a synchronous call join the first.
Promises: a job is accepted together with its hold or not at all, and one idempotency key makes one job.
Never starts a job.
"""

__all__ = ["admitting", "calls", "candidates", "naming", "retrying", "submitting"]
