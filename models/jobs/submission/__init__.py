"""Submission: how a job comes to be, once, whatever the client repeats.

`inserting` has the one statement that writes a job and its hold; `admitting` runs it alone, `submitting` in
a transaction that looks at budgets, reuse and references first. `retrying` makes a new job of a finished
one; `calls` lets the repetition of a synchronous call join the first.
Promises: a job is accepted together with its hold or not at all, and one idempotency key makes one job.
Never starts a job.
"""

__all__ = ["admitting", "calls", "inserting", "naming", "retrying", "submitting"]
