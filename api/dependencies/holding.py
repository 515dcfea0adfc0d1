"""How long a client wants to be held until what it asks about has ended."""

import re
from datetime import timedelta

from fastapi import Request

from api.contract.openapi.parameters import WAIT_MAX
from models.errors import FieldError, InvalidRequest
from models.platform.wording import shown

_WAIT = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r'\s*"?([0-9]{1,9})"?\s*')


def patience_of(request: Request) -> tuple[timedelta, dict[str, str]]:
    """Read how long to hold a client: `wait`, or what it prefers; with the header that says so.

    Documented by `WITH_POLL`. Raises `InvalidRequest` for a `wait` that is none.
    """
    wait = request.query_params.get("wait")
    if wait is None:
        preferred = _preferred(request.headers.get("prefer"))
        applied = {} if preferred is None else {"preference-applied": f"wait={preferred}"}
        return timedelta(seconds=preferred or 0), applied
    if not _WAIT.fullmatch(wait) or int(wait) > WAIT_MAX:
        message = f"{shown(wait)}: send whole seconds, from 0 to {WAIT_MAX}"
        raise InvalidRequest(
            f"A client cannot be held so: {message}.", errors=(FieldError("query:wait", message),)
        )
    return timedelta(seconds=int(wait)), {}


def _preferred(prefer: str | None) -> int | None:
    """Read the seconds of `Prefer: wait=` (RFC 7240, 4.3), at most a minute; None without one."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = _SECONDS.fullmatch(value)
        if name.strip().lower() == "wait" and seconds is not None:
            return min(int(seconds[1]), WAIT_MAX)
    return None
