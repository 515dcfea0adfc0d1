"""Servers of our own: embedded PostgreSQL and Valkey, each a process on one port.

Promises: a server dies with its parent, whatever kills that one, and runs under any uid.
Knows nothing of Darkroom's roles.
"""

__all__ = ["postgres", "server", "valkey"]
