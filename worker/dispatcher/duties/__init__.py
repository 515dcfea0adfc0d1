"""The duties that Postgres alone is asked for: dispatching, waking, reaping, budgets, retention, measures.

One file for each; each is a function that does one turn and says whether there is more to do, or when.
Promises: a turn begins with one statement that tells whether there is anything to do, and two dispatchers
that do the same turn do it once. Never asks the provider's account, but through `account`.
"""

__all__ = [
    "acting",
    "auditing",
    "batching",
    "budgeting",
    "dispatching",
    "emptying",
    "erasing",
    "fetching",
    "folding",
    "following",
    "forgetting",
    "looking",
    "measuring",
    "parking",
    "reaping",
    "redrawing",
    "retaining",
    "waking",
]
