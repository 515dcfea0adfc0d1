"""The page on upgrading names every table that a database user may have to be granted."""

import re

from models.platform.db import migrate
from models.platform.db.base import Base
from tests.fixtures.pages import ROOT

VERSIONS = ROOT / "models" / "migrations" / "versions"
MADE = re.compile(
    r'op\.create_table\(\s*"(\w+)"|CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)'
)
NEW = re.compile(r"\*\*New tables\*\* since revision (\d{4}): ([^.]+)\.")


def made_since(revision: str) -> list[str]:
    """Return the tables of later migrations, in their order."""
    return [
        one or other
        for file in sorted(VERSIONS.glob("[0-9]*_*.py"))
        if file.name.partition("_")[0] > revision
        for one, other in MADE.findall(file.read_text())
    ]


def test_every_table_that_is_new_is_named_and_no_other() -> None:
    ((revision, named),) = NEW.findall((ROOT / "docs" / "upgrading.md").read_text())
    assert revision < migrate.head()
    assert re.findall(r"`(\w+)`", named) == made_since(revision)


def test_no_table_is_made_that_is_not_found() -> None:
    assert Base.metadata.tables.keys() <= set(made_since("0000"))
