"""The books: what is held, what was charged, what it may cost, and what is reported of it.

Owns the ledger, budgets, prices, the wallet, usage reports and the hours that they are folded into,
the account's statement at the provider, and the audit that compares all of these.
Promises: credits are integers, the ledger is append-only, and every sum kept elsewhere equals the
ledger's.
Never talks to the provider: the dispatcher does, and hands in what it read.
"""

__all__ = [
    "audit",
    "bookings",
    "budgets",
    "dollars",
    "hours",
    "ledger",
    "prices",
    "statement",
    "usage",
    "wallet",
]
