"""What callers send: a file of bodies and queries for each noun, closed to unknown fields."""

__all__ = [
    "actions",
    "batches",
    "budgets",
    "erasures",
    "files",
    "filters",
    "jobs",
    "keys",
    "operators",
    "usage",
    "webhooks",
]
