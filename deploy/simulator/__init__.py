"""A stand-in for AIML API: the same routes and answers, pretend money, pictures that say SIMULATOR.

    python -m deploy.simulator --port 8900 --key simulator-key --limit 16

or inside a test:

    async with simulator.serve(simulator.Config(rates={"504_charged": 0.1})) as running:
        running.url, running.world

It never contacts anything. What each scenario answers, and whether it is charged, stands in
`scenarios/table.py` and on the root page; the independent witness is below `/_simulator/`.
"""

from deploy.simulator.app import Running, serve
from deploy.simulator.config import Config

__all__ = ["Config", "Running", "serve"]
