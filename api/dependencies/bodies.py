"""Bodies: read only for a caller with a key, only of types that we take, and JSON to the letter."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import cast

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant

from api.contract.formats.strict_json import parse
from api.dependencies.deps import Key
from api.dependencies.state import state_of
from api.edge.body_limits import BodyLimiter
from api.edge.route import Handle, NamedRoute, Query, demand_head
from models.errors import FieldError, InvalidRequest, UnsupportedMedia
from models.platform.wording import pointer_to, printable, shown

Endpoint = Callable[..., Awaitable[object]]

JSON = "JSON, with the header `Content-Type: application/json`"
JSON_OR_FORM = f"a form (`multipart/form-data`), or {JSON}"

_NAMED_MAX = 20  # fields that a refusal names
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)')
_UTF8 = {"utf-8", "utf8", "us-ascii"}


class JsonRoute(NamedRoute):
    """A route for who has a key: its query and its body are judged before FastAPI sees them.

    A route that takes no body takes `{}` too, and refuses any other: a client that sends one means
    something by it, and it would change nothing. What comes with a GET is dropped.

    FastAPI reads the body before any dependency is asked, so it would take 64 MB from a client that has no
    key, or one without the scope; it takes what Python's `json` takes, which is more than JSON; and it
    answers 400 to whatever is raised while the body is read.
    """

    def get_route_handler(self) -> Handle:
        """Wrap the handler, which is given the caller that was judged here."""
        documented, query = self.dependant, Query(self)
        keys = [each.call for each in documented.dependencies if isinstance(each.call, Key)]
        self.dependant = _without_keys(documented)
        handle = super().get_route_handler()
        self.dependant = documented
        is_read = "GET" not in (self.methods or ())

        async def judged(request: Request) -> Response:
            demand_head(request)
            caller = await state_of(request).callers.admit(request)
            for key in keys:
                key.demand(caller)
            query.demand(request)
            return await handle(await self.read(request) if is_read else request)

        return judged

    async def read(self, request: Request) -> Request:
        """Return the request with its body parsed. Raises the refusals of a body that is not taken."""
        read = await read_json(request)
        if self.body_field is None:
            if read.parsed is not None:
                _demand_nothing(read.parsed)
        elif read.parsed is None and self.body_field.field_info.is_required():
            raise no_body("it has no body; send a JSON object")
        elif not isinstance(read.parsed, dict | None):
            raise no_body(f"the body is {shown(read.parsed)}; send a JSON object")
        return read


class ParsedRequest(Request):
    """A request whose body has been parsed; empty bodies are not asked for."""

    parsed: object = None
    is_form: bool = False

    async def json(self) -> object:
        """Return what was parsed."""
        return self.parsed

    def empty(self) -> None:
        """Drop the bytes, and of what was parsed the references, which are what is large."""
        self._body = b""
        body = self.parsed if isinstance(self.parsed, dict) else {}
        for given in (body, body.get("input")):
            if isinstance(given, dict):
                given.pop("image_urls", None)


async def read_json(request: Request, takes: str = JSON) -> ParsedRequest:
    """Read a body of JSON, or none; `takes` is what else the route takes, in words.

    Raises `UnsupportedMedia`, `MalformedBody`, `InvalidRequest`.
    """
    read = ParsedRequest(request.scope, request.receive)
    if body := await read.body():
        if media_type(request) != "application/json":
            raise unsupported(request, takes)
        read.parsed = parse(body)
        if read.parsed is None:
            raise no_body("the body is null; send a JSON object")
    return read


def let_go(request: Request) -> None:
    """Free a body that has been used, with its bytes of the budget: its sender is held from now on."""
    if isinstance(request, ParsedRequest):
        request.empty()
    limiter = getattr(request.state, "limiter", None)
    if isinstance(limiter, BodyLimiter):
        limiter.release()


def _without_keys(documented: Dependant) -> Dependant:
    """Return the same without its keys, which FastAPI would ask once more: a tenth of what a poll takes."""
    keys = [each for each in documented.dependencies if isinstance(each.call, Key)]
    names = [each.name for each in keys if each.name is not None]
    request_name, answer = documented.request_param_name, cast("Endpoint", documented.call)

    @wraps(answer)
    async def answered(_request: Request, **values: object) -> object:
        if request_name is not None:
            values[request_name] = _request
        return await answer(**values, **dict.fromkeys(names, _request.state.caller))

    others = [each for each in documented.dependencies if each not in keys]
    return replace(documented, call=answered, request_param_name="_request", dependencies=others)


def media_type(request: Request) -> str | None:
    """Return the type of a body; None where its text is in another charset than UTF-8."""
    written = request.headers.get("content-type", "").lower()
    charset = _CHARSET.search(written)
    if charset is not None and charset[1] not in _UTF8:
        return None
    return written.partition(";")[0].strip()


def unsupported(request: Request, takes: str) -> UnsupportedMedia:
    """Refuse a body for its type; `takes` are those that its route takes."""
    type_ = request.headers.get("content-type")
    came = "without a Content-Type" if type_ is None else f"as {shown(type_)}"
    return UnsupportedMedia(f"The body came {came}; send {takes}, in UTF-8.")


def _demand_nothing(parsed: object) -> None:
    if not isinstance(parsed, dict):
        raise no_body(f"the body is {shown(parsed)}; this route takes none, or `{{}}`")
    if parsed:
        names = [printable(name) for name in list(parsed)[:_NAMED_MAX]]
        message = "this route takes no fields; remove it"
        raise InvalidRequest(
            f"This route takes no body, and one came with {', '.join(names)}.",
            errors=tuple(FieldError(pointer_to(name), message) for name in names),
        )


def no_body(message: str) -> InvalidRequest:
    """Refuse a body as a whole."""
    return InvalidRequest(
        f"The request cannot be used: {message}.", errors=(FieldError("", message),)
    )
