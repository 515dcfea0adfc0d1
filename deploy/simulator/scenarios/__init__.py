"""Scenarios: what a call may be answered with, by script or by dice, and how its records may lie.

`table` lists the scenarios and `lies` the lies; `plays` reads the script of a prompt or header. Says what
is to happen, and never makes it happen.
"""

from deploy.simulator.scenarios.plays import (
    Play,
    UnknownScenarioError,
    check_rates,
    draw,
    read_play,
    read_rates,
    read_script,
    script_of,
)

__all__ = [
    "Play",
    "UnknownScenarioError",
    "check_rates",
    "draw",
    "lies",
    "read_play",
    "read_rates",
    "read_script",
    "script_of",
    "table",
]
