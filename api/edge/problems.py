"""Refusals as RFC 9457 problem+json; the only place where an exception becomes an answer."""

from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import cast

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.contract.formats.answers import JsonAnswer
from api.contract.formats.field_errors import field_error
from api.edge import dialects
from models.errors import InternalError, InvalidRequest, Refusal, Unavailable
from models.images.store_errors import StorageError, StoreUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

CLIENT_GONE = 499  # as nginx counts who went away before an answer; nobody is sent it
NOSNIFF = (b"x-content-type-options", b"nosniff")  # what we say that it is, it is
_RETRY_AFTER = "5"


def install(app: FastAPI, public_url: str) -> None:
    """Teach an app to answer every refusal as problem+json; its page of errors is below this URL."""
    app.state.errors = f"{public_url.rstrip('/')}/errors"
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(StoreUnavailable, _store_away)
    app.add_exception_handler(Exception, _bug)


def problem(request: Request, refused: Refusal) -> JsonAnswer:
    """Write a refusal: what happened, which value, what to do."""
    body, status = describe(request, refused), refused.status
    headers = _headers(refused)
    if dialects.is_spoken(request.url.path):
        headers, status = dialects.headers_of(refused, headers), dialects.status_of(refused)
    return JsonAnswer(body, status, headers, media_type="application/problem+json")


def describe(request: Request, refused: Refusal) -> dict[str, object]:
    """Write the body of a refusal."""
    body: dict[str, object] = {
        "type": f"{request.app.state.errors}#{refused.code}",
        "title": (type(refused).__doc__ or "").strip(),
        "status": refused.status,
        "detail": refused.detail,
        "instance": request.url.path,
        "code": refused.code,
        "retryable": refused.retryable,
        "request_id": request_id(request),
        "errors": [each.told for each in refused.errors],
        **refused.extra,
    }
    if dialects.is_spoken(request.url.path):
        body |= {"status": dialects.status_of(refused), "error": dialects.error_of(refused)}
    return body


def _headers(refused: Refusal) -> dict[str, str]:
    headers: dict[str, str] = {}
    if refused.retry_after is not None:
        headers["retry-after"] = str(round(refused.retry_after.total_seconds()))
    elif refused.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers["retry-after"] = _RETRY_AFTER
    if refused.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["connection"] = "close"  # the rest of the body would be read as the next request's
    if refused.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        headers["accept-encoding"] = "identity"  # RFC 9110, 15.5.16: what codings are read
    if refused.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="darkroom"'
    return headers


def request_id(request: Request) -> str:
    """Return the id of a request, ours or the caller's."""
    return str(getattr(request.state, "request_id", ""))


async def _refusal(request: Request, refused: Exception) -> JsonAnswer:
    return problem(request, cast("Refusal", refused))


def as_refusal(failed: Refusal | StorageError) -> Refusal:
    """Return what a caller is told when the store does not answer; a refusal is told as it is."""
    if isinstance(failed, Refusal):
        return failed
    log.warning("store.away", reason=str(failed))
    return Unavailable("The image store does not answer; try again in a moment.")


async def _store_away(request: Request, away: Exception) -> JsonAnswer:
    return problem(request, as_refusal(cast("StorageError", away)))


async def _invalid(request: Request, refused: Exception) -> JsonAnswer:
    fields = tuple(field_error(error) for error in cast("RequestValidationError", refused).errors())
    named = ", ".join(dict.fromkeys(field.pointer or "the body" for field in fields))
    return problem(request, InvalidRequest(f"The request breaks a rule at {named}.", errors=fields))


async def _gone(_request: Request, _gone: Exception) -> Response:
    """Answer nobody: the client went away in the middle of its body, which is no bug of ours."""
    return Response(status_code=CLIENT_GONE)


async def _http(request: Request, raised: Exception) -> JsonAnswer:
    status, path = cast("HTTPException", raised).status_code, request.url.path
    is_slashed = status == HTTPStatus.NOT_FOUND and path.endswith("/")
    advice = " Leave out the slash at its end." if is_slashed else ""
    detail = f"{HTTPStatus(status).phrase}: {request.method} {path}.{advice}"
    response = problem(request, _of_status(status)(detail))
    response.headers.update(cast("HTTPException", raised).headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> Iterator[str]:
    """List what this path takes; the router knows only what the first of its routes does."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        asked = {**request.scope, "method": method}
        if any(route.matches(asked)[0] is Match.FULL for route in request.app.routes):
            yield from ("GET", "HEAD") if method == "GET" else (method,)


@cache
def _of_status(status: int) -> type[Refusal]:
    """Return what the framework refuses with a status: made once, for a class costs more than an answer."""
    names = {404: "not_found", 405: "method_not_allowed"}
    return type("HttpRefusal", (Refusal,), {
        "__doc__": HTTPStatus(status).phrase, "status": status,
        "code": names.get(status, "http_error"),
    })  # fmt: skip


async def _bug(request: Request, _raised: Exception) -> JsonAnswer:
    answer = problem(request, InternalError("Tell us the request_id; our log says more under it."))
    # Starlette answers this one from outside of the middleware, which gives every other answer these two.
    answer.headers["x-request-id"] = request_id(request)
    answer.raw_headers.append(NOSNIFF)
    return answer
