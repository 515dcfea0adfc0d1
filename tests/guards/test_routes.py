"""A route is at most twelve lines and knows its caller; a Celery task is two."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType

from fastapi import APIRouter
from fastapi.routing import APIRoute

from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Key
from api.edge.route import Route
from tests.guards import sources

METHODS = {"get", "post", "put", "patch", "delete", "head"}
LINES = 12
CALLERS = {"Writer", "Reader", "Hooker", "Usage", "Admin", "Operator"}
REFUSING = {
    *(
        "JobId",
        "EndpointId",
        "KeyId",
        "BudgetId",
        "DeliveryId",
        "ActionId",
        "ErasureId",
        "ProjectId",
    ),
    "IdempotencyKey",
}
OPEN = {"api/routes/health.py"}
SIGNED = {"api/routes/images.py"}  # by key or by signed URL: `_find` demands one of them

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(folder: str) -> Iterator[tuple[str, Function]]:
    """Walk the functions of a room, each with the file it stands in."""
    for path in sources.files(folder):
        for node in sources.nodes(path):
            if isinstance(node, Function):
                yield sources.name(path), node


def decorated(function: Function) -> set[str]:
    """Return the attributes that a function is decorated by: `get` of `@router.get(…)`."""
    calls = (each.func for each in function.decorator_list if isinstance(each, ast.Call))
    return {each.attr for each in calls if isinstance(each, ast.Attribute)}


def body_of(function: Function) -> list[ast.stmt]:
    """Return the statements of a function without its docstring."""
    return function.body[1:] if ast.get_docstring(function) else function.body


def given_to(function: Function) -> list[str]:
    """Return the types of a function's parameters, in the order in which FastAPI makes them."""
    return [ast.unparse(each.annotation) for each in function.args.args if each.annotation]


def modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield every module of routes, each with its file."""
    for path in sources.files("api/routes"):
        name = sources.name(path)
        if path.stem != "__init__":
            yield name, import_module(name.removesuffix(".py").replace("/", "."))


@cache
def demanding() -> set[tuple[str, str]]:
    """Return file and name of each route that demands a key of its own accord: nobody reads the caller.

    FastAPI asks what stands in `dependencies` before any parameter.
    """
    return {
        (file, route.name)
        for file, module in modules()
        for router in vars(module).values()
        if isinstance(router, APIRouter)
        for route in router.routes
        if isinstance(route, APIRoute)
        and any(isinstance(each.dependency, Key) for each in route.dependencies)
    }


ROUTES = [(file, each) for file, each in functions("api") if decorated(each) & METHODS]


def test_there_are_routes_to_guard() -> None:
    assert len(ROUTES) > 20


def test_a_route_is_at_most_twelve_lines() -> None:
    long = []
    for file, route in ROUTES:
        first, last = body_of(route)[0].lineno, route.end_lineno or 0
        if last - first + 1 > LINES:
            long.append(f"{file}: {route.name} has {last - first + 1}")
    assert long == []


def test_a_route_says_what_it_does() -> None:
    assert [f"{file}: {each.name}" for file, each in ROUTES if not ast.get_docstring(each)] == []


def test_every_route_but_health_demands_a_caller() -> None:
    anonymous = [
        f"{file}: {route.name}"
        for file, route in ROUTES
        if file not in OPEN | SIGNED
        and not CALLERS & set(given_to(route))
        and (file, route.name) not in demanding()
    ]
    assert anonymous == []
    plane = {each for each in demanding() if each[0].startswith("api/routes/operator/")}
    assert len(plane) > 15


def test_the_caller_is_known_before_an_id_or_a_key_is_refused() -> None:
    late = []
    for file, route in ROUTES:
        if (file, route.name) in demanding():
            continue
        for given in given_to(route):
            if given in CALLERS:
                break
            if given in REFUSING and file not in SIGNED:
                late.append(f"{file}: {route.name}")
    assert late == []


def test_every_query_and_every_body_is_judged_before_fastapi_reads_it() -> None:
    routers = [
        each
        for _, room in modules()
        if isinstance(each := getattr(room, "router", None), APIRouter)
    ]
    assert len(routers) > 4
    lax = [
        f"{route.methods} {route.path}"
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and not isinstance(route, _judging(route))
    ]
    assert lax == []


def _judging(route: APIRoute) -> tuple[type[APIRoute], ...]:
    """Return the classes that judge what comes with such a route's requests."""
    bare = ({"GET"}, {"HEAD"}, {"OPTIONS"})
    return (JsonRoute, Route) if route.methods in bare else (JsonRoute,)


def test_a_task_is_two_lines() -> None:
    tasks = [(file, each) for file, each in functions("worker") if "task" in decorated(each)]
    assert len(tasks) >= 2
    assert [f"{file}: {each.name}" for file, each in tasks if len(body_of(each)) > 2] == []
    assert {file for file, _ in tasks} == {"worker/tasks.py"}
