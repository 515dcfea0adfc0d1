"""The documentation holds together: each link leads somewhere, and what can be run is run."""

import re
from pathlib import Path

from tests.fixtures import pages
from tests.fixtures.pages import PAGES, ROOT

# Followed by test_recipes.py; taken out and sent real deliveries by test_receiving.py (both in
# tests/integration); and run by hand, on a client that somebody else's program makes.
_NOT_RUN_HERE = {"CONTRIBUTING.md", "docs/receiving-webhooks.md", "docs/clients.md"}
_KNOWN = {
    "",
    "sh",
    "python",
    "javascript",
    "console",
    "json",
    "http",
    "js",
    "ts",
    "go",
    "nginx",
    "yaml",
    "text",
    "sql",
    "mermaid",
}


def leads(page: Path, link: str) -> bool:
    """Tell whether a link of a page leads to a file of ours, and to an anchor that it has."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    there = target.exists() and target.is_relative_to(ROOT)
    return there and (not anchor or anchor in pages.anchors(target))


def test_each_link_of_each_page_leads_somewhere() -> None:
    missing = [
        f"{pages.name(page)}: {link}"
        for page in PAGES
        for link in pages.links(page)
        if "://" not in link and not leads(page, link)
    ]
    assert missing == []


def test_each_file_of_ours_that_a_page_names_is_there() -> None:
    named = re.compile(r"`((?:api|models|worker|deploy|tests|docs)/[\w./-]+)`")
    pages_ = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    found = {
        (pages.name(page), each) for page in pages_ for each in named.findall(page.read_text())
    }
    assert len(found) > 100
    missing = [
        f"{page}: {each}"
        for page, each in sorted(found)
        if not (ROOT / each).exists() and not (ROOT / f"{each}.py").exists()
    ]
    assert missing == []


def test_each_page_of_docs_is_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page not in PAGES:
            continue
        seen.add(page)
        local = (link.partition("#")[0] for link in pages.links(page) if "://" not in link)
        todo += [(page.parent / link).resolve() for link in local if link]
    assert [pages.name(page) for page in PAGES if page not in seen] == []


def test_each_python_of_a_page_is_a_file_that_the_page_runs() -> None:
    lost = [
        f"{pages.name(page)}:{block.line}"
        for page in PAGES
        if pages.name(page) not in _NOT_RUN_HERE
        for block in pages.blocks(page, "python")
        if block.file is None
        or not any(block.file in each.text for each in pages.blocks(page, "sh"))
    ]
    assert lost == []


def test_a_block_says_what_it_is() -> None:
    fences = {line[3:] for page in PAGES for line in page.read_text().splitlines()
              if line.startswith("```")}  # fmt: skip
    assert fences - _KNOWN == set()


def test_the_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A *job's* `error.code`s\n\n```\n# no heading\n```\n## Same\n## Same\n")
    assert pages.anchors(page) == {"a-jobs-errorcodes", "same", "same-1"}
