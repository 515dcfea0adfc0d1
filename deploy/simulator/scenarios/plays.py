"""Plays and scripts: which scenario of `table.py` a call is given.

A play is one scenario with its number, chosen for one call: `ok`, `hang=30`, `latency=2+500`. A
script is a list of plays: `[sim: 429, 500, ok]` in the prompt, or `429, 500, ok` in the header
`X-Simulator-Scenario`, which wins over the prompt. The n-th call of a job takes the n-th play and
the last play repeats. Without a script, the server's rates decide. A play may lie: `500+charged`
(`lies.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from deploy.simulator.scenarios import lies
from deploy.simulator.scenarios.table import OK, TABLE, Scenario

_DIRECTIVE = re.compile(r"\[sim:([^\]]*)\]", re.IGNORECASE)


class UnknownScenarioError(ValueError):
    """The words name no scenario; the message lists those there are."""


@dataclass(frozen=True)
class Play:
    """A scenario chosen for one call; `number` is its argument, `latency` in seconds overrides."""

    scenario: Scenario
    number: float = 0.0
    latency: float | None = None
    lies: Mapping[str, float] = field(default_factory=dict)

    @property
    def charged(self) -> bool:
        """Whether the account's ledger charges the call."""
        return lies.charged(self.lies, self.scenario.charged)


def script_of(header: str | None, prompt: str) -> tuple[Play, ...]:
    """Read the script that came with a call, empty without one; raises `UnknownScenarioError`."""
    if header is not None:
        return read_script(header)
    found = _DIRECTIVE.search(prompt)
    return read_script(found[1]) if found else ()


def read_script(text: str) -> tuple[Play, ...]:
    """Read plays separated by commas; raises `UnknownScenarioError`."""
    return tuple(read_play(item) for item in text.split(",") if item.strip())


def read_play(item: str) -> Play:
    """Read one play: `name`, `name=NUMBER`, `latency=S+name`, `name+lie`.

    Raises `UnknownScenarioError`.
    """
    play = Play(OK)
    for part in item.strip().split("+"):
        name, _, written = part.strip().partition("=")
        row = TABLE.get(name) or lies.TABLE.get(name)
        if row is None or (written and row.number is None):
            there = ", ".join((*TABLE, *lies.TABLE))
            raise UnknownScenarioError(f"no scenario {part.strip()!r}; there are: {there}")
        number = _number(part, written, row.number or 0.0)
        if isinstance(row, lies.Lie):
            play = replace(play, lies={**play.lies, name: number})
        elif name == "latency":
            play = replace(
                play, scenario=row if play.scenario is OK else play.scenario, latency=number
            )
        else:
            play = replace(play, scenario=row, number=number)
    return play


def read_rates(text: str) -> dict[str, float]:
    """Read `504_charged=0.1,hang=30=0.01`: the last number of each is its share of the calls."""
    rates: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.strip().rpartition("=")
        if item.strip():
            rates[name] = _number(item, share, 0.0)
    check_rates(rates)
    return rates


def check_rates(rates: Mapping[str, float]) -> None:
    """Raise `ValueError` unless all names are plays and the shares are parts of one."""
    for name in rates:
        read_play(name)
    if any(share < 0 for share in rates.values()) or sum(rates.values()) > 1 + 1e-9:
        raise ValueError("rates are shares of all calls: none below 0, 1 together at most")


def draw(rates: Mapping[str, float], random: Random) -> Play:
    """Choose a play by the server's rates; what they leave over is `ok`."""
    dice = random.random()
    for name, share in rates.items():
        dice -= share
        if dice < 0:
            return read_play(name)
    return Play(OK)


def _number(part: str, written: str, default: float) -> float:
    try:
        number = float(written) if written else default
    except ValueError:
        raise UnknownScenarioError(f"{part.strip()!r}: not a number") from None
    if not 0 <= number < float("inf"):
        raise UnknownScenarioError(f"{part.strip()!r}: not a number of seconds")
    return number
