"""The environment has one reader: `models/settings/fields.py`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
READER = "models/settings/fields.py"
WRITER = "tests/e2e/nursery.py"  # gives the process that it has forked an environment of its own
NAMES = {"environ", "environb", "getenv", "getenvb", "putenv"}


def reads(tree: ast.AST) -> list[int]:
    """Return the lines that use `os.environ` or its like, however they import it."""
    attributes = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in NAMES
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    imports = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "os"
        and {each.name for each in node.names} & NAMES
    ]
    return attributes + imports


def test_only_the_settings_read_the_environment() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("api", "worker", "models", "deploy", "tests")
        for path in sorted((ROOT / room).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in {READER, WRITER}
        for line in reads(ast.parse(path.read_text()))
    ]
    assert found == []


def test_the_settings_do_read_it() -> None:
    assert reads(ast.parse((ROOT / READER).read_text()))
