"""What is known of the provider: its models, their rules and sizes, and when it may be called.

Owns the catalog, the rules of inputs, the limit of calls in flight that was found out (`limits`: a 429
lowers it), the gates and breakers that stop calls, and the pauses of an operator.
Promises: nothing is dispatched while a gate is closed, and a gate for everybody needs evidence from
more than one project or from the account. Never makes a call.
"""

__all__ = [
    "aliases",
    "breakers",
    "catalog",
    "gates",
    "limits",
    "pauses",
    "probes",
    "rates",
    "schemas",
    "sizes",
]
