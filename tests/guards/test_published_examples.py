"""The provider's published examples stand in our pages word for word, but for the address and the key.

`tests/clients/published` has them as they are published for this model; `tests/e2e/test_docs.py` runs ours.
"""

import pytest

from tests.fixtures import pages
from tests.fixtures.pages import ROOT

PUBLISHED = ROOT / "tests/clients/published"


@pytest.mark.parametrize(
    ("page", "language", "published"),
    [("README.md", "python", "python.txt"), ("docs/drop-in.md", "javascript", "javascript.txt")],
)
def test_two_lines_of_a_published_example_are_changed(
    page: str, language: str, published: str
) -> None:
    (block,) = pages.blocks(ROOT / page, language)
    ours = block.text.splitlines()[1:]  # the first one names the file
    theirs = (PUBLISHED / published).read_text().splitlines()
    assert len(ours) == len(theirs)
    changed = [old for old, new in zip(theirs, ours, strict=True) if old != new]
    address, key = changed
    assert "https://api.aimlapi.com/v1/images/generations" in address
    assert "Bearer <YOUR_AIMLAPI_KEY>" in key
