"""The audit log: who changed what, from what, to what.

Owns the append-only log of changes that people answer for: keys, budgets, endpoints, limits, pauses,
projects, erasures, resolutions. Each line is written in the transaction of its change, and chained to the
line before it when that commits. Jobs are not logged: their rows and the ledger say what became of them.
Promises: no secret and no content of a customer's in it, and a line that was changed, removed, inserted or
moved is found. Never reads the things whose changes it records.
"""

__all__ = ["actors", "reading", "recording", "verifying"]
