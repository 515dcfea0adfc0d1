"""Files and functions stay small; only a list of like things may be longer, and is named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "worker", "models", "deploy")
LINES, FUNCTION = 250, 40

# One list of like things each: to cut it would part what is read together.
LISTS = {
    "api/contract/documentation.py",
    "api/contract/examples.py",
    "deploy/simulator/scenarios/table.py",
    "models/errors.py",
    "models/schema/jobs.py",
    "models/settings/fields.py",
}
# The same of a function: what the wire shows of a job.
FUNCTIONS = {"models/jobs/view.py:job"}


def sources() -> Iterator[tuple[str, str]]:
    """Yield path and text of every source file; migrations have Alembic's own shape."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), path.read_text()


def test_no_file_is_longer_than_a_reader_holds() -> None:
    assert {name for name, text in sources() if text.count("\n") > LINES} == LISTS


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{name}:{each.name}"
        for name, text in sources()
        for each in ast.walk(ast.parse(text))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and (each.end_lineno or each.lineno) - each.lineno + 1 > FUNCTION
    }
    assert long == FUNCTIONS
