"""What every route demands of a request before its handler sees it: a query that it knows.

A parameter that nobody reads would change nothing, in silence: `?statsu=failed` lists every job. Of one
that comes twice only the last would be read; no route takes a list.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from models.errors import FieldError, InvalidRequest, UnsupportedMedia
from models.platform.wording import printable, shown

Handle = Callable[[Request], Coroutine[object, object, Response]]

_NAMED_MAX = 20  # parameters that a refusal names
_ONCE = {
    each.lower().encode(): each
    for each in ("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key")
}


class NamedRoute(APIRoute):
    """A route that clients made from OpenAPI call by its handler's name: `submit_job`."""

    def __init__(self, path: str, endpoint: Callable[..., object], **given: Any) -> None:  # noqa: ANN401
        super().__init__(
            path, endpoint, **given | {"generate_unique_id_function": lambda route: route.name}
        )


class Route(NamedRoute):
    """A route that refuses the parameters which it does not document; for routes without a key."""

    def get_route_handler(self) -> Handle:
        """Wrap the handler."""
        handle, query = super().get_route_handler(), Query(self)

        async def judged(request: Request) -> Response:
            demand_head(request)
            query.demand(request)
            return await handle(request)

        return judged


class Query:
    """The names of the parameters that a route takes in a URL's query."""

    def __init__(self, route: APIRoute) -> None:
        self._names = frozenset((*_read_by(route.dependant), *_documented(route, "form")))
        # Of those that OpenAPI calls deep objects, as `metadata[order]=A-17`.
        self._objects = tuple(f"{name}[" for name in _documented(route, "deepObject"))

    def demand(self, request: Request) -> None:
        """Raise `InvalidRequest` where the query names what this route does not know, or anything twice."""
        if not request.scope["query_string"]:
            return
        given = Counter(name for name, _ in request.query_params.multi_items())
        if unknown := [name for name in given if not self._knows(name)]:
            message = "there is no such parameter; remove it, or correct its name"
            raise _refusal("This route has no parameter {}.", unknown, message)
        if repeated := [name for name, times in given.items() if times > 1]:
            message = "it is given more than once; give it once"
            raise _refusal("The query repeats {}: only one value can count.", repeated, message)

    def _knows(self, name: str) -> bool:
        return name in self._names or (name.endswith("]") and name.startswith(self._objects))


def demand_head(request: Request) -> None:
    """Raise `InvalidRequest` for a header that comes twice where one value counts; `UnsupportedMedia`.

    The latter is for a body in a coding (RFC 9110, 8.4): it is read as it comes.
    """
    given = [name for name, _ in request.scope["headers"] if name in _ONCE]
    if len(given) > len(set(given)):
        name = _ONCE[next(each for each in given if given.count(each) > 1)]
        message = "it is given more than once; give it once"
        raise InvalidRequest(
            f"The request has more than one {name} header: only one value can count.",
            errors=(FieldError(f"header:{name}", message),),
        )
    if b"content-encoding" in given:
        coding = request.headers["content-encoding"]
        if coding.strip().lower() not in {"", "identity"}:
            raise UnsupportedMedia(
                f"The body came with the Content-Encoding {shown(coding)}; send it as it is, without one."
            )


def demand_none(request: Request) -> None:
    """Raise `InvalidRequest` where a query is given to what takes none."""
    if names := list(request.query_params):
        raise _refusal(
            "This page has no parameter {}.", names, "there is no such parameter; remove it"
        )


def _refusal(detail: str, names: list[str], message: str) -> InvalidRequest:
    named = names[:_NAMED_MAX]
    return InvalidRequest(
        detail.format(", ".join(dict.fromkeys(map(printable, named)))),
        errors=tuple(FieldError(f"query:{name}", message) for name in named),
    )


def _read_by(dependant: Dependant) -> Iterator[str]:
    """List what a handler and its dependencies read."""
    for field in dependant.query_params:
        shape = field.field_info.annotation
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            yield from (each.alias or name for name, each in shape.model_fields.items())
        else:
            yield field.alias
    for each in dependant.dependencies:
        yield from _read_by(each)


def _documented(route: APIRoute, style: str) -> list[str]:
    parameters = (route.openapi_extra or {}).get("parameters", [])
    queries = (each for each in parameters if each["in"] == "query")
    return [each["name"] for each in queries if each.get("style", "form") == style]
