"""The duties that ask the provider's account: what lost calls cost, what was charged, prices, the balance.

`reconciling` finds lost calls in the provider's log, `matching` compares its ledger with ours; `walking`
ends a way through pages that leads nowhere.
Promises: the account is asked no more often than it allows, however many dispatchers there are, and
nothing is booked that it does not say. Never makes a call that costs money.
"""

__all__ = ["accounting", "matching", "pricing", "reconciling", "walking", "wallet"]
