"""How processes share the work without a leader.

Owns the duties of dispatchers and their leases, which processes run, what workers can take, and the
rows that a duty set aside.
Promises: two dispatchers at once are harmless, and a row that cannot be moved never stops a duty
for the others.
"""

__all__ = ["aside", "duties", "processes", "workers"]
