"""How a job that brought no image is told to who waited for it: each of its errors as an HTTP status."""

from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus

from models import ids
from models.errors import FieldError, JobFailed, Refusal, StillRunning, TooMany
from models.jobs import Snapshot

# The provider has refused the input; everything else is a call that brought nothing.
_STATUS = {
    "invalid_input": HTTPStatus.BAD_REQUEST,
    "content_refused": HTTPStatus.BAD_REQUEST,
    "model_unavailable": HTTPStatus.NOT_FOUND,
}
_AGAIN = timedelta(seconds=5)  # an image takes about forty; a client that asks again waits again


def refusal(found: Sequence[Snapshot]) -> Refusal:
    """Return why there is no image: of several jobs, what became of the first that has none."""
    waiting = next((each for each in found if not each.over), None)
    if waiting is not None:
        return StillRunning(
            "The image is not there yet, and its job goes on: send the same request again to wait for it, "
            "or read the job at Location.",
            retry_after=_AGAIN,
        )
    job = next(each.job for each in found if each.image is None)
    error = job.error or {}
    code = str(error.get("code") or job.status)
    details = error.get("details")
    errors = tuple(
        FieldError(_pointer(each), str(each.get("message")))
        for each in (details if isinstance(details, list) else [])
        if isinstance(each, dict)
    )
    kind = _kind(code)
    return kind(str(error.get("message") or f"The job was {job.status} before it had an image."),
                errors=errors)  # fmt: skip


def told(found: Snapshot) -> dict[str, object]:
    """Write why a job has no image, beside others that have one."""
    refused = refusal([found])
    return {
        "job_id": ids.text(ids.JOB, found.job.id), "code": refused.code, "message": refused.detail
    }  # fmt: skip


def is_repeated(refused: Refusal) -> tuple[bool, bool]:
    """Return whether clients repeat a request that was refused so, and whether repeating is in vain."""
    repeated = refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(refused, TooMany)
    return repeated, repeated and not refused.retryable


def _pointer(detail: dict[str, object]) -> str:
    """Point to the field that the provider names as `image_size.width`."""
    path = str(detail.get("path") or "")
    return "/" + path.replace(".", "/") if path else ""


def _kind(code: str) -> type[Refusal]:
    """Return the class of a job's error: the code is the job's, and its title the same for all."""
    made: type[Refusal] = type("JobEnded", (JobFailed,), {
        "__doc__": JobFailed.__doc__,
        "code": code, "status": int(_STATUS.get(code, HTTPStatus.BAD_GATEWAY)),
    })  # fmt: skip
    return made
