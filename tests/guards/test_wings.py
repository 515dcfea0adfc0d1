"""Wings: who comes from outside uses the names that a wing's `__init__` lists, and nothing else of it."""

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.guards import sources

ROOMS = (*sources.CODE, "deploy")
MODULES = {
    ".".join(path.relative_to(sources.ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sources.files(*ROOMS)
    if "migrations" not in path.parts
}
WINGS = sorted(
    name for name, path in MODULES.items() if path.name == "__init__.py" and name not in ROOMS
)


def doors(wing: str) -> set[str]:
    """Return the names that a wing lists in `__all__`."""
    for node in sources.nodes(MODULES[wing]):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def imports(module: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports of ours: the package or module, and the name out of it."""
    for node in sources.nodes(MODULES[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                yield node.module, each.name


@cache
def entered(module: str) -> tuple[tuple[str, str], ...]:
    """Return each wing that a module enters from outside, and the name by which it does."""
    return tuple(
        (wing, whole.removeprefix(f"{wing}.").split(".")[0])
        for whole in (f"{source}.{name}" for source, name in imports(module))
        for wing in WINGS
        if whole.startswith(f"{wing}.") and not f"{module}.".startswith(f"{wing}.")
    )


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_what_it_is(wing: str) -> None:
    told = ast.get_docstring(ast.parse(MODULES[wing].read_text()))
    assert told is not None
    assert told.split("\n")[0].endswith(".")


def test_whoever_comes_from_outside_uses_the_doors() -> None:
    found = [
        f"{module} imports {wing}.{name}"
        for module in MODULES
        for wing, name in entered(module)
        if name not in doors(wing)
    ]
    assert found == []


def test_a_module_that_nobody_enters_is_no_door() -> None:
    used = {(wing, name) for module in MODULES for wing, name in entered(module)}
    by_name = {"worker.runtime"}  # Celery finds its application and its transport by their names
    unused = [
        f"{wing}.{name}"
        for wing in WINGS
        for name in sorted(doors(wing))
        if f"{wing}.{name}" in MODULES and (wing, name) not in used and wing not in by_name
    ]
    assert unused == []
