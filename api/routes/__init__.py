"""The routes: one router for each noun of the API.

A route parses (types from `api.dependencies`), calls one domain function, and returns;
`api.contract` says what crosses the wire. Never opens a transaction of its own making, and never
calls out.
"""

__all__ = [
    "actions",
    "audit",
    "batches",
    "budgets",
    "catalog",
    "deliveries",
    "docs",
    "erasures",
    "files",
    "generations",
    "health",
    "images",
    "jobs",
    "keys",
    "now",
    "operator",
    "streams",
    "usage",
    "webhooks",
]
