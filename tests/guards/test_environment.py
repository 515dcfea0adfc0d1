"""The environment has one reader: `models/settings/loading.py`."""

import ast
from collections.abc import Iterable

from tests.guards import sources

READER = "models/settings/loading.py"
WRITER = "tests/e2e/nursery.py"  # gives the process that it has forked an environment of its own
NAMES = {"environ", "environb", "getenv", "getenvb", "putenv"}


def reads(nodes: Iterable[ast.AST]) -> list[int]:
    """Return the lines that use `os.environ` or its like, however they import it."""
    return [
        node.lineno
        for node in nodes
        if (
            isinstance(node, ast.Attribute)
            and node.attr in NAMES
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {each.name for each in node.names} & NAMES
        )
    ]


def test_only_the_settings_read_the_environment() -> None:
    found = [
        f"{sources.name(path)}:{line}"
        for path in sources.files(*sources.ALL)
        if sources.name(path) not in {READER, WRITER}
        for line in reads(sources.found(path, *NAMES))
    ]
    assert found == []


def test_the_settings_do_read_it() -> None:
    assert reads(sources.nodes(sources.ROOT / READER))
