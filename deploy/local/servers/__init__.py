"""Servers of our own: embedded PostgreSQL and Valkey, each a process on one port.

Promises: a server dies with its parent, whatever kills that one, and refuses no uid it is started under.
Knows nothing of Darkroom's roles.
"""

__all__ = ["postgres", "server", "valkey"]
