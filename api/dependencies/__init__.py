"""What a route depends on: the caller, a transaction, an idempotency key, a body; all typed.

Promises: a route's body is read for a caller whose scope allows it, and only then.
"""

__all__ = ["bodies", "deps", "holding", "state"]
