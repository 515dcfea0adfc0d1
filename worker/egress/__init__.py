"""The only way out to an address that a user or the provider chose.

Promises: an address is checked when it is connected to, what comes is bounded in bytes and time,
and the status line decides. The paid call itself goes through `worker.provider`.
"""

__all__ = ["connection", "guarded", "trust", "wire"]
