"""Files and functions stay small; only a list of like things may be longer, and is named here."""

import ast

from tests.guards import sources

LINES, FUNCTION = 250, 40

# One list of like things each: to cut it would part what is read together.
LISTS = {
    "deploy/simulator/scenarios/table.py",
    "models/errors.py",
}
# The same of a function: what the wire shows of a job.
FUNCTIONS = {"models/jobs/view.py:job"}


# Migrations have Alembic's own shape.
FILES = [path for path in sources.files(*sources.CODE, "deploy") if "migrations" not in path.parts]


def test_no_file_is_longer_than_a_reader_holds() -> None:
    long = {sources.name(path) for path in FILES if sources.text(path).count("\n") > LINES}
    assert long == LISTS


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{sources.name(path)}:{each.name}"
        for path in FILES
        for each in sources.nodes(path)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and (each.end_lineno or each.lineno) - each.lineno + 1 > FUNCTION
    }
    assert long == FUNCTIONS
