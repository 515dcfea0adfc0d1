"""The name of a request: the caller's key, and the fingerprint of what its body says."""

import asyncio

from api.contract.requests.jobs import RetryBody, SubmitBody
from models.accounts.callers import Caller
from models.errors import FieldError, InvalidRequest
from models.jobs import Idempotency, fingerprint

_INLINE = 64 * 1024  # characters of references above which work on them moves off the loop


async def of(caller: Caller, key: str | None, body: SubmitBody) -> Idempotency | None:
    """Return the name of a checked request: route, key, fingerprint. Raises as `demand_key` does."""
    demand_key(caller, key)
    if key is None:
        return None
    return "submit", key, await digest(body)


async def digest(body: SubmitBody | RetryBody) -> bytes:
    """Return the fingerprint of what a body says; of a large one, taken off the loop."""
    dumped = body.model_dump(mode="json", exclude_unset=True)
    if is_heavy(body.input):
        return await asyncio.to_thread(fingerprint, dumped)
    return fingerprint(dumped)


def demand_key(caller: Caller, key: str | None) -> None:
    """Raise `InvalidRequest` where the project requires an Idempotency-Key and none came."""
    if key is None and caller.idempotency_required:
        raise InvalidRequest(
            "This project requires an Idempotency-Key: send a fresh one with each new request.",
            errors=(FieldError("header:Idempotency-Key", "missing"),),
        )


def is_heavy(raw: object) -> bool:
    """Return whether an input's references are so long that nobody else may wait for work on them."""
    urls = raw.get("image_urls") if isinstance(raw, dict) else None
    listed = urls if isinstance(urls, list) else []
    return sum(len(url) for url in listed if isinstance(url, str)) > _INLINE
