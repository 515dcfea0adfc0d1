"""What OpenAPI says of answers: examples that people can read, and every refusal."""

from typing import Any

from models import errors

Responses = dict[int | str, dict[str, Any]]

_JOB_EXAMPLE = {
    "id": "job_01kar4d2c9ez7t6p1m8n5q0rvw",
    "object": "job",
    "status": "succeeded",
    "input": {
        "model": "bytedance/seedream-5-0-lite-preview",
        "prompt": "A T-Rex in a business suit, drinking from a blue mug in a small café",
        "image_size": "2K",
    },
    "metadata": {"order": "A-17"},
    "tags": [],
    "customer": None,
    "priority": "standard",
    "created_at": "2026-11-22T10:00:00.000Z",
    "started_at": "2026-11-22T10:00:00.031Z",
    "finished_at": "2026-11-22T10:00:41.512Z",
    "queue_expires_at": "2026-11-23T10:00:00.000Z",
    "deadline": None,
    "waiting_reason": None,
    "attempts": [
        {
            "number": 1,
            "outcome": "image",
            "charge": {"state": "settled", "credits": 91000},
            "http_status": 200,
            "inference_id": "inf-7c1f",
            "client_request_id": "job_01kar4d2c9ez7t6p1m8n5q0rvw:1",
            "sent_at": "2026-11-22T10:00:00.031Z",
            "finished_at": "2026-11-22T10:00:41.200Z",
            "error": None,
        }
    ],
    "cost": {"estimated": 91000, "charged": 91000, "unknown": 0, "held": 0, "unit": "credits"},
    "result": {
        "data": [
            {
                "url": "https://darkroom.example/v1/jobs/job_01kar4d2c9ez7t6p1m8n5q0rvw/images/0?exp=1764460800&sig=…",
                "size": "2048x2048",
                "content_type": "image/jpeg",
                "bytes": 315998,
                "width": 2048,
                "height": 2048,
                "sha256": "9f2c…",
                "expires_at": "2026-12-22T10:00:41.512Z",
                "thumbnail_url": "https://darkroom.example/v1/jobs/job_01kar4d2c9ez7t6p1m8n5q0rvw/images/0/thumbnail?exp=1764460800&sig=…",
                "provider_url": "https://cdn.aimlapi.com/generations/…",
            }
        ],
        "meta": {"usage": {"credits_used": 91000}},
    },
    "error": None,
    "cancel": None,
    "retried_from": None,
    "reused_from": None,
}


def _json(example: object, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


JOB: Responses = {200: _json(_JOB_EXAMPLE, "The job as it is now.")}
ACCEPTED: Responses = {202: _json(
    _JOB_EXAMPLE | {"status": "queued", "waiting_reason": "queue", "attempts": [], "result": None,
                    "started_at": None, "finished_at": None,
                    "cost": _JOB_EXAMPLE["cost"] | {"charged": 0, "held": 91000}},  # type: ignore[operator]  # a dict above
    "Accepted: the job survives whatever dies from here on.",
)}  # fmt: skip
PAGE: Responses = {200: _json(
    {"object": "list", "data": [_JOB_EXAMPLE], "has_more": False, "next_cursor": None},
    "A page, newest first.",
)}  # fmt: skip
BYTES: Responses = {
    200: {"description": "The bytes.", "content": {"image/*": {}}},
    206: {"description": "The part that was asked for.", "content": {"image/*": {}}},
    304: {"description": "The caller has these bytes."},
    416: {"description": "No such part."},
}


def _refusals() -> Responses:
    """Document every refusal of the tree, by status: its codes and their titles."""
    by_status: dict[int | str, list[type[errors.Refusal]]] = {}
    for refusal in _tree(errors.Refusal):
        by_status.setdefault(refusal.status, []).append(refusal)
    return {
        status: {
            "description": " · ".join(f"`{each.code}` {each.__doc__}" for each in found),
            "content": {"application/problem+json": {"example": _problem(found[0])}},
        }
        for status, found in sorted(by_status.items(), key=lambda item: str(item[0]))
    }


def _tree(base: type[errors.Refusal]) -> list[type[errors.Refusal]]:
    own = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
    return [found for each in own for found in (each, *_tree(each))]


def _problem(refusal: type[errors.Refusal]) -> dict[str, object]:
    return {
        "type": f"https://darkroom.dev/problems/{refusal.code}",
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
