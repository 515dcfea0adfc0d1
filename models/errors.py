"""The tree of refusals.

    DarkroomError
    ├── Misconfigured              a process cannot start: one line, exit status 2
    │   └── SchemaBehind           until the database is migrated
    └── Refusal                    a caller asked for what cannot be: becomes problem+json
        ├── MalformedBody          400 malformed_json
        ├── MalformedForm          400 malformed_form
        ├── MalformedRequest       400 malformed_request
        ├── Unauthenticated        401 unauthenticated
        ├── BudgetExceeded         402 budget_exceeded
        ├── ScopeMissing           403 scope_missing
        ├── CsrfMissing            403 csrf_missing
        ├── ProjectSuspended       403 project_suspended
        ├── SignatureInvalid       403 signature_invalid
        ├── NotFound               404 not_found
        │   └── ModelNotFound      404 model_not_found
        ├── TooSlow                408 request_timeout
        ├── Conflict               409 conflict
        │   ├── LimitReached       409 limit_reached
        │   └── NotFinished        409 not_finished
        ├── ImageExpired           410 image_expired
        ├── Erased                 410 erased
        ├── BodyTooLarge           413 body_too_large
        ├── UrlTooLong             414 url_too_long
        ├── UnsupportedMedia       415 unsupported_media_type
        ├── InvalidRequest         422 invalid_request
        │   ├── ModelUnavailable   422 model_unavailable
        │   ├── KeyReuse           422 idempotency_key_reuse
        │   └── EgressRefused      422 egress_refused
        ├── TooMany                429 rate_limited
        │   └── QueueFull          429 queue_full
        ├── HeadersTooLarge        431 headers_too_large
        ├── InternalError          500 internal_error
        ├── UnknownCoding          501 unsupported_transfer_coding
        ├── JobFailed              502 job_failed
        ├── Unavailable            503 unavailable
        └── StillRunning           504 still_running

A class is a code; its status stands on the class; its docstring is the title people read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


class DarkroomError(Exception):
    """Anything Darkroom says no with."""


class Misconfigured(DarkroomError):
    """The process cannot start as it is configured."""


class SchemaBehind(Misconfigured):
    """The database has not been migrated to what this code needs."""


@dataclass(frozen=True)
class FieldError:
    """One field that is wrong: `pointer` is a JSON pointer (RFC 6901) into the request's body.

    Of a batch it is a pointer into a row, which is named by its number, from 1, and its `custom_id`.
    """

    pointer: str
    message: str
    row: int | None = None
    custom_id: str | None = None

    @property
    def told(self) -> dict[str, object]:
        """The same as JSON."""
        of_row = {} if self.row is None else {"row": self.row, "custom_id": self.custom_id}
        return {**of_row, "pointer": self.pointer, "message": self.message}


class Refusal(DarkroomError):
    """The request was refused; nothing was created and nothing is held."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after: timedelta | None = None,
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.extra = extra


def refusals(base: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Yield every refusal of the tree; what `api.edge.problems` makes up for HTTP is none of it."""
    for each in base.__subclasses__():
        if each.__module__ == __name__:
            yield from (each, *refusals(each))


class MalformedBody(Refusal):
    """The body is not JSON, or names a field twice."""

    code, status = "malformed_json", 400


class MalformedForm(Refusal):
    """The body is not a form that can be read."""

    code, status = "malformed_form", 400


class MalformedRequest(Refusal):
    """The request is not HTTP."""

    code, status = "malformed_request", 400


class Unauthenticated(Refusal):
    """No valid API key came with the request."""

    code, status = "unauthenticated", 401


class BudgetExceeded(Refusal):
    """The budget has no room for this job."""

    code, status = "budget_exceeded", 402


class ScopeMissing(Refusal):
    """The API key lacks the scope that this route asks for."""

    code, status = "scope_missing", 403


class CsrfMissing(Refusal):
    """A browser's session came without its CSRF token."""

    code, status = "csrf_missing", 403


class ProjectSuspended(Refusal):
    """The project is suspended; it accepts no job."""

    code, status = "project_suspended", 403


class SignatureInvalid(Refusal):
    """The signed URL is not valid, or no longer."""

    code, status = "signature_invalid", 403


class NotFound(Refusal):
    """There is no such thing, or it belongs to another project."""

    code, status = "not_found", 404


class ModelNotFound(NotFound):
    """There is no such model that can be called."""

    code, status = "model_not_found", 404


class TooSlow(Refusal):
    """The request did not come in time."""

    code, status, retryable = "request_timeout", 408, True


class Conflict(Refusal):
    """The request conflicts with the present state."""

    code, status = "conflict", 409


class LimitReached(Conflict):
    """The project has as many of these as it may have."""

    code, status = "limit_reached", 409


class NotFinished(Conflict):
    """The job has not come that far yet."""

    code, status, retryable = "not_finished", 409, True


class ImageExpired(Refusal):
    """The image's retention has ended."""

    code, status = "image_expired", 410


class Erased(Refusal):
    """The job's input and images were erased."""

    code, status = "erased", 410


class BodyTooLarge(Refusal):
    """The body is larger than this route takes."""

    code, status = "body_too_large", 413


class UrlTooLong(Refusal):
    """The URL is longer than any that this API has."""

    code, status = "url_too_long", 414


class UnsupportedMedia(Refusal):
    """The body is of a type that this route does not take."""

    code, status = "unsupported_media_type", 415


class InvalidRequest(Refusal):
    """The request breaks a rule; each field that does is named."""

    code, status = "invalid_request", 422


class ModelUnavailable(InvalidRequest):
    """The model cannot be called at present."""

    code, status = "model_unavailable", 422


class KeyReuse(InvalidRequest):
    """The Idempotency-Key was used before, with another body."""

    code, status = "idempotency_key_reuse", 422


class EgressRefused(InvalidRequest):
    """The URL leads to an address that Darkroom must not reach."""

    code, status = "egress_refused", 422


class TooMany(Refusal):
    """Too many requests; slow down."""

    code, status, retryable = "rate_limited", 429, True


class QueueFull(TooMany):
    """The project's queue is full."""

    code, status, retryable = "queue_full", 429, True


class HeadersTooLarge(Refusal):
    """The headers are larger than this API takes."""

    code, status = "headers_too_large", 431


class InternalError(Refusal):
    """A bug of Darkroom's; nothing is known to be lost."""

    code, status = "internal_error", 500


class UnknownCoding(Refusal):
    """The body comes in a transfer coding that is not read here."""

    code, status = "unsupported_transfer_coding", 501


class JobFailed(Refusal):
    """The job ended without an image; its own error is the code."""

    code, status = "job_failed", 502


class Unavailable(Refusal):
    """Darkroom cannot reach its database; nothing was lost, try again."""

    code, status, retryable = "unavailable", 503, True


class StillRunning(Refusal):
    """The job goes on, longer than this call may be held."""

    code, status, retryable = "still_running", 504, True
