"""The provider's answers: its failures, the shapes of its successes, and the ways a connection breaks.

`failures` come from `answers.json`, as published or as they were seen; `shapes` has the odd
bodies of a 200; `wire` sends an answer whole, or breaks it off. Knows no money and decides nothing.
"""

from deploy.simulator.answers.answer import Answer, failure, problem, success

__all__ = ["Answer", "failure", "problem", "shapes", "success", "wire"]
