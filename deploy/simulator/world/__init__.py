"""One simulated account: its calls, its wallet with the ledger, and how both survive a restart.

`lying` moves money and writes the log as the lies of a call ask. Knows no HTTP.
"""

from deploy.simulator.world.world import WORLD, World

__all__ = ["WORLD", "World", "calls", "lying", "money"]
