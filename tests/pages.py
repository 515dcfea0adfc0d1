"""The pages of the documentation: their fenced blocks, their links, their anchors.

Three kinds of blocks are not for the eye alone. `sh` runs in a test (`tests/e2e/test_docs.py`), all
blocks of a page in one shell. `python` is a file, named in its first line, which a command of the page
runs. `console` is a transcript: it was run by hand, and says so by its prompt.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda page: page.relative_to(ROOT)
)

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)$", re.MULTILINE)
_NAMED = re.compile(r'<a (?:id|name)="([^"]+)">')
_FILE = re.compile(r"# ([\w.-]+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which it begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that it is, from its first line."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[Block]:
    """Return a page's blocks in one language, in their order."""
    text = page.read_text()
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)
        for found in _BLOCK.finditer(text)
        if found[1] == language
    ]


def links(page: Path) -> Iterator[str]:
    """Yield where the links of a page lead; of what stands in blocks, nothing."""
    for found in _LINK.finditer(_prose(page)):
        yield found[1]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: those of its headings, as GitHub makes them, and named ones."""
    prose = _prose(page)
    made = set(_NAMED.findall(prose))
    for slug, times in Counter(map(_slug, _HEADING.findall(prose))).items():
        made |= {slug, *(f"{slug}-{n}" for n in range(1, times))}
    return made


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def _slug(heading: str) -> str:
    """Write a heading as the anchor that GitHub gives it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
