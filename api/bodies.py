"""Bodies: read for whoever has a key, of a type we take, and JSON to the letter."""

import json
from collections.abc import Callable, Coroutine
from math import isfinite
from typing import NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.deps import Key
from api.state import state_of
from models.errors import MalformedBody, UnsupportedMedia
from models.wording import shown


class JsonRoute(APIRoute):
    """A route whose body is judged before FastAPI sees it; a route without one is left as it is.

    FastAPI reads the body before any dependency is asked, so it would take 64 MB from whoever has no
    key, or one without the scope; it takes what Python's `json` takes, which is more than JSON; and it
    answers 400 to whatever is raised while the body is read.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[object, object, Response]]:
        """Wrap the handler of a route with a body."""
        handle = super().get_route_handler()
        keys = [each.call for each in self.dependant.dependencies if isinstance(each.call, Key)]

        async def judged(request: Request) -> Response:
            caller = await state_of(request).callers.admit(request)
            for key in keys:
                caller.demand(key.scope)
            read = _JsonRequest(request.scope, request.receive)
            if body := await read.body():
                _demand_json(request.headers.get("content-type", ""))
                read.parsed = parse(body)
            return await handle(read)

        return handle if self.body_field is None else judged


class _JsonRequest(Request):
    """A request whose body has been parsed; empty bodies are not asked for."""

    parsed: object = None

    async def json(self) -> object:
        return self.parsed


def parse(body: bytes) -> object:
    """Read JSON (RFC 8259) in UTF-8, with each name once in its object; raises `MalformedBody`."""
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_number,
        )
    except json.JSONDecodeError as wrong:
        place = f"line {wrong.lineno} column {wrong.colno}"
        raise MalformedBody(f"The body is not valid JSON: {wrong.msg} at {place}.") from None
    except UnicodeDecodeError as wrong:
        raise MalformedBody(f"The body is not UTF-8: see its byte {wrong.start}.") from None
    except RecursionError:
        raise MalformedBody("The body is nested too deeply; no field needs it.") from None
    except ValueError:  # Python refuses to read integers of over 4,300 digits
        raise MalformedBody("A number in the body has too many digits.") from None


def _demand_json(content_type: str) -> None:
    type_, _, parameters = content_type.lower().partition(";")
    _, named, charset = parameters.partition("charset=")
    is_json = type_.strip() == "application/json" or (
        type_.startswith("application/") and type_.strip().endswith("+json")
    )
    if not is_json or (named and charset.split(";")[0].strip('" ') not in {"utf-8", "utf8"}):
        raise UnsupportedMedia(
            f"The body came as {shown(content_type)}; send JSON in UTF-8, with the header "
            "`Content-Type: application/json`."
        )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object. Of a name that came twice nobody knows which value was meant."""
    made: dict[str, object] = {}
    for name, value in pairs:
        if name in made:
            raise MalformedBody(f"The field {shown(name)} stands twice in its object; keep one.")
        made[name] = value
    if not all(name.isascii() or _is_unicode(name) for name in made):
        raise MalformedBody("The name of a field has half of a surrogate pair; remove it.")
    return made


def _is_unicode(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def _number(written: str) -> float:
    number = float(written)
    return number if isfinite(number) else _no_number(written)


def _no_number(written: str) -> NoReturn:
    raise MalformedBody(f"{shown(written)} is no number that JSON can say.")
