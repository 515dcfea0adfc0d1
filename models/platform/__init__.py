"""What the domain stands on: the database and its driver, the doorbell, secrets at rest, logs.

Promises: `db.transaction()` and `direct` are the only commits, a ring that is lost costs latency
alone, and an error of Postgres is told apart: away, busy, or our statement's fault. Knows no table
and no rule of the domain.
"""

__all__ = [
    "addresses",
    "arguments",
    "db",
    "descriptors",
    "doorbell",
    "jsonable",
    "lean",
    "logs",
    "memory",
    "metrics",
    "places",
    "threads",
    "together",
    "tracing",
    "vault",
    "version",
    "wording",
]
