"""Who runs next, and why a job waits.

Owns the choice of the next jobs (fair queueing between projects, rank inside a project), what binds
a job that waits, in words and numbers, its forecast, and the size of the backlog.
Promises: a dispatch costs the same beside a thousand or a million queued jobs, and no project waits
behind the backlog of another. Never starts a job and never moves money.
"""

__all__ = [
    "backlog",
    "closings",
    "demand",
    "dispatching",
    "explaining",
    "outlook",
    "reasons",
    "sharing",
]
