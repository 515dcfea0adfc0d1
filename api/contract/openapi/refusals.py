"""What OpenAPI says of refusals: every one of the tree, by status; said once, and referred to by routes."""

from api.contract.openapi.answers import Responses, shown
from models import errors

_AT = "#/components/schemas/Problem"


def _refusals() -> Responses:
    """Document every refusal of the tree, by status: its codes and their titles."""
    by_status: dict[int | str, list[type[errors.Refusal]]] = {}
    for refusal in errors.refusals():
        by_status.setdefault(refusal.status, []).append(refusal)
    return {
        status: {
            "description": " · ".join(f"`{each.code}` {each.__doc__}" for each in found),
            "content": {
                "application/problem+json": shown(*(each.code for each in found))
                | {"schema": {"$ref": _AT}}
            },
        }
        for status, found in sorted(by_status.items(), key=lambda item: str(item[0]))
    }


def example(refusal: type[errors.Refusal]) -> dict[str, object]:
    """Return a problem as this refusal answers it."""
    return {
        "type": f"https://darkroom.example.com/errors#{refusal.code}",
        "title": refusal.__doc__,
        "status": refusal.status,
        "detail": "…",
        "instance": "/v1/jobs",
        "code": refusal.code,
        "retryable": refusal.retryable,
        "request_id": "req_…",
        "errors": [],
    }


REFUSALS = _refusals()
