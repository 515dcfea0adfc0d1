"""Refusals on the routes that clients of OpenAI's shape use: both dialects in one body.

Beside the members of RFC 9457 stands `error`, as OpenAI and the provider have it. Retries of such clients
are steered by `x-should-retry`; they give up where `Retry-After` is a minute or more.
"""

import re
from http import HTTPStatus

from models.errors import ModelUnavailable, Refusal

_SPOKEN = re.compile(r"/v1/(images|models|files)(/.*)?")
_AGAIN = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_RETRY_AFTER_MAX = 59  # the AI SDK gives up above a minute, and openai-python above two
_SEVERAL, _TOLD = 2, 20  # mistakes from which on each is told, and how many are
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.PAYMENT_REQUIRED: "insufficient_quota",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def is_spoken(path: str) -> bool:
    """Return whether clients of OpenAI's shape ask at this path."""
    return _SPOKEN.fullmatch(path) is not None


def status_of(refused: Refusal) -> int:
    """Return the status by which such clients know a refusal: what is invalid is 400 to them.

    A key that came before with another body stays 422, as on every route.
    """
    invalid = refused.status == HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(refused, ModelUnavailable):
        return HTTPStatus.NOT_FOUND  # as of a model that the provider has no more
    if invalid and refused.code != "idempotency_key_reuse":
        return HTTPStatus.BAD_REQUEST
    return refused.status


def error_of(refused: Refusal) -> dict[str, str | None]:
    """Write a refusal as such clients read it; `param` is the field of the body that is wrong."""
    status = HTTPStatus(status_of(refused))
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    pointer = refused.errors[0].pointer if refused.errors else ""
    return {
        "message": _message_of(refused),
        "type": _TYPES.get(status, kind),
        "param": pointer.removeprefix("/").partition("/")[0] or None,
        "code": refused.code,
    }


def _message_of(refused: Refusal) -> str:
    """Return all that such clients show: what is wrong with each field, where there are several."""
    if len(refused.errors) < _SEVERAL:
        return refused.detail
    told = [f"{each.pointer.lstrip('/')}: {each.message}" for each in refused.errors[:_TOLD]]
    more = len(refused.errors) - len(told)
    return "\n".join([*told, f"{more} more."] if more else told)


def headers_of(refused: Refusal, headers: dict[str, str]) -> dict[str, str]:
    """Add what steers retries to a refusal's headers."""
    steered = dict(headers)
    again = status_of(refused) in _AGAIN
    steered["x-should-retry"] = "true" if again else "false"
    if "retry-after" in steered:
        steered["retry-after"] = str(min(int(steered["retry-after"]), _RETRY_AFTER_MAX))
    return steered
