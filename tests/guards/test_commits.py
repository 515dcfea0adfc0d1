"""Only the boundary commits: `transaction()` in `models/platform/db/database.py`."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "worker", "models")


def test_nobody_commits_by_hand() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"commit", "rollback"}
    ]
    assert found == []


def test_only_the_ledger_writes_lines_of_the_ledger() -> None:
    writes = re.compile(r"insert\((LedgerEntry|_LEDGER)\)|INSERT INTO ledger\b", re.IGNORECASE)
    rooms = [path for room in ("api", "worker", "models") for path in (ROOT / room).rglob("*.py")]
    found = {
        str(path.relative_to(ROOT))
        for path in rooms
        if "migrations" not in path.parts and writes.search(path.read_text())
    }
    assert found == {"models/money/ledger.py"}
