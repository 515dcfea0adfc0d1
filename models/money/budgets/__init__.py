"""Budgets: limits on what a project, a key or a customer holds and has spent, per day, month or in all.

Owns the `rules` of budgets, the `windows` in which they count, and the check of each hold (`checking`).
Promises: each booking moves the sums of the windows it falls into, so the sums always equal the ledger; and
a hard budget refuses a hold that it has no room for, in the statement that would have taken it: with room
for one job, of a hundred concurrent submissions one is accepted.
Never writes a line of the ledger: that one calls `move`, and a statement that accepts a job has `ROOM` and
`MOVED` in it.
"""

from models.money.budgets.checking import MOVED, ROOM, give_back, lock, move, take
from models.money.budgets.folding import drifts, leave_out
from models.money.budgets.rules import (
    Rule,
    forget_customer,
    hard,
    put,
    recount_customer,
    remove,
    standings,
)
from models.money.budgets.thresholds import any_soft, cross, crossing, following, owner
from models.money.budgets.windows import LEFT, BudgetState

__all__ = [
    "LEFT",
    "MOVED",
    "ROOM",
    "BudgetState",
    "Rule",
    "any_soft",
    "cross",
    "crossing",
    "drifts",
    "following",
    "forget_customer",
    "give_back",
    "hard",
    "leave_out",
    "lock",
    "move",
    "owner",
    "put",
    "recount_customer",
    "remove",
    "standings",
    "take",
]
