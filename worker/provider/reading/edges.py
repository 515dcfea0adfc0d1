"""What a proxy in front of the provider says, for people: its title and headings, cleaned and bounded.

Its pages are HTML of any length, with addresses and numbers of ours that concern nobody else.
"""

import re
from html.parser import HTMLParser

from worker.provider.reading.answers import ProviderAnswer

_READ = 65_536  # bytes of a page: its title stands at its head
_WORDS = 200  # characters
_TOLD = frozenset({"title", "h1", "h2"})
_BLANK = re.compile(r"\s+")


def refusal(answer: ProviderAnswer) -> str:
    """Return in whose words a request was refused: the provider's own, or those of a proxy before it."""
    if answer.own:
        return answer.message
    said = answer.message if isinstance(answer.json, dict) else _headline(answer.raw)
    status = f"HTTP status {answer.status}"
    start = f"A proxy in front of the provider refused this request ({status})"
    return f"{start}: {said}" if said and status not in said else f"{start}."


def _headline(raw: bytes) -> str:
    text = raw[:_READ].decode(errors="replace")
    if "<" in text:
        page = _Page()
        page.feed(text)
        text = " - ".join(dict.fromkeys(page.found))
    printable = "".join(c if c.isprintable() or c.isspace() else " " for c in text)
    return _BLANK.sub(" ", printable.replace("\N{REPLACEMENT CHARACTER}", " ")).strip()[:_WORDS]


class _Page(HTMLParser):
    """Collects the text of a page's title and headings."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a title or a heading; anything else inside one is passed by."""
        del attrs
        self._inside = tag if tag in _TOLD else self._inside

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Collect its text."""
        if self._inside and data.strip():
            self.found.append(_BLANK.sub(" ", data).strip())
