"""The page of scenarios is the simulator's table."""

import re
from pathlib import Path

from deploy.simulator.table import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "testing-failures.md"


def test_the_page_lists_every_scenario_and_what_it_does() -> None:
    rows = re.findall(
        r"^\| `([^`=]+)(?:=NUMBER)?` \| (.*) \| (yes|no) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [(r.name, r.says, "yes" if r.charged else "no") for r in TABLE.values()]
