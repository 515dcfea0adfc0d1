"""The page of scenarios and lies is the simulator's tables."""

import re
from pathlib import Path

from deploy.simulator.scenarios import lies
from deploy.simulator.scenarios.table import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "testing-failures.md"


def test_the_page_lists_every_scenario_and_what_it_does() -> None:
    rows = re.findall(
        r"^\| `([^`=]+)(?:=NUMBER)?` \| (.*) \| (yes|no) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [(r.name, r.says, "yes" if r.charged else "no") for r in TABLE.values()]


def test_the_page_lists_every_lie_and_what_it_says() -> None:
    rows = re.findall(r"^\| `\+([^`=]+)((?:=NUMBER)?)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    numbers = {name: bool(number) for name, number, _ in rows}
    assert [(name, says) for name, _, says in rows] == [
        (r.name, r.says) for r in lies.TABLE.values()
    ]
    assert numbers == {r.name: r.number is not None for r in lies.TABLE.values()}
