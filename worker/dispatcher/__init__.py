"""The dispatcher: the only brain. It decides what runs next, and owns every row that is stuck.

Any number of dispatchers may run, with no leader: a duty on the database is one short transaction under
an advisory lock, a duty that uses the network holds a lease row. Killing any of them, or all, costs
latency only.
"""

__all__ = ["accounting", "duty"]
