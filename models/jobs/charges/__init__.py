"""Charges: what an attempt really cost, when it is known later than its answer.

`standing` tells what is unknown of a project, `charging` resolves it, `correcting` follows the account's
own ledger, `restoring` books calls that a restored backup does not know.
Promises: the account's ledger has the last word, and what is booked is never changed, only added to.
Never asks the provider: the dispatcher does.
"""

__all__ = ["charging", "correcting", "restoring", "standing"]
