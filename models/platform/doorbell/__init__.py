"""The doorbell: Redis says "look at Postgres now", and who waits in this process wakes.

Promises: ringing never blocks and never fails; a ring that is lost costs latency and nothing else.
Carries no facts.
"""

from models.platform.doorbell.doorbell import Doorbell

__all__ = ["Doorbell", "waiters"]
