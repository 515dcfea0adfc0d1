"""The source files that guards look through: each is read and parsed once, for all guards of a process."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("api", "worker", "models")
ALL = (*CODE, "deploy", "tests")


@cache
def files(*rooms: str) -> tuple[Path, ...]:
    """Return the Python files of these folders, in the order of their names."""
    return tuple(path for room in rooms for path in sorted((ROOT / room).rglob("*.py")))


def name(path: Path) -> str:
    """Return a file's path as it is written in the repository."""
    return str(path.relative_to(ROOT))


@cache
def text(path: Path) -> str:
    """Return what a file says."""
    return path.read_text()


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(text(path))))


def found(path: Path, *words: str) -> tuple[ast.AST, ...]:
    """Return the same where one of these words stands in the file; nothing of any other."""
    return nodes(path) if any(word in text(path) for word in words) else ()
