"""Only the boundary commits: `transaction()` in `models/platform/db.py`."""

import ast
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
