"""What the requests of all projects share in one process: connections, decoders, queues, long polls.

Promises: one project cannot take all of it, and no request waits behind another project's backlog.
"""

__all__ = [
    "admissions",
    "calls",
    "conversions",
    "intakes",
    "queues",
    "readings",
    "references",
    "reports",
    "turns",
    "waiting",
    "watching",
]
