"""Only the boundary commits: `transaction()` of the `Database`, and of its `Direct`."""

import ast
import re

from tests.guards import sources

FILES = sources.files(*sources.CODE)
_BOUNDARY = "models/platform/db/direct.py"


def test_nobody_commits_by_hand() -> None:
    found = [
        f"{sources.name(path)}:{node.lineno}"
        for path in FILES
        if sources.name(path) != _BOUNDARY
        for node in sources.found(path, "commit", "rollback")
        if isinstance(node, ast.Attribute) and node.attr in {"commit", "rollback"}
    ]
    assert found == []


def test_only_the_ledger_writes_lines_of_the_ledger() -> None:
    writes = re.compile(r"insert\((LedgerEntry|_LEDGER)\)|INSERT INTO ledger\b", re.IGNORECASE)
    found = {
        sources.name(path)
        for path in FILES
        if "migrations" not in path.parts and writes.search(sources.text(path))
    }
    assert found == {"models/money/ledger.py"}
