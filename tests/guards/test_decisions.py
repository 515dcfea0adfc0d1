"""Each decision has a title, a date and a status, and the index says the same."""

import re
from pathlib import Path

from tests.fixtures.pages import ROOT

FOLDER = ROOT / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
LINK = r"\[\d+\]\(\d{4}-[\w-]+\.md\)"
STATUS = re.compile(rf"accepted|accepted, amended by {LINK}(, {LINK})*|superseded by {LINK}")


def row(page: Path) -> str:
    """Return a decision's row in the index, as its own first lines have it."""
    title, blank, second, blank_again = page.read_text().splitlines()[:4]
    number, _, name = title.removeprefix("# ").partition(". ")
    date, _, status = second.partition(" · ")
    assert page.name.startswith(f"{int(number):04d}-"), f"{page.name}: its title has another number"
    form = f"{page.name}: its third line is its date and status, as `2026-11-28 · accepted`"
    assert (blank, blank_again) == ("", ""), form
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", date), form
    assert STATUS.fullmatch(status), form
    return f"| [{number}]({page.name}) | {name} | {date} | {status} |"


def test_the_index_lists_every_decision_as_it_is() -> None:
    index = (FOLDER / "README.md").read_text().splitlines()
    assert [line for line in index if line.startswith("| [")] == [row(page) for page in PAGES]


def test_the_numbers_have_no_gap() -> None:
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))
