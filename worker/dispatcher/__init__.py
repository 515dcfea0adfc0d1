"""The dispatcher: the only brain. It decides what runs next, and owns every row that is stuck.

Any number of dispatchers may run, with no leader: a duty that counts places is one short transaction
under an advisory lock, one that moves rows moves each under its own guards, and a duty that uses the
network holds a lease row. Killing any of them, or all, costs latency only.
"""

__all__ = ["account", "duty"]
