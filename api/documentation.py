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
    "erased_at": None,
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

_EXPLANATION_EXAMPLE: dict[str, object] = {
    "object": "explanation",
    "job_id": "job_01kar4d2c9ez7t6p1m8n5q0rvw",
    "status": "queued",
    "waiting_reason": "provider_limit",
    "message": "40 of 40 calls that the provider admits are in flight. 12 jobs of its project go first.",
    "binding": [
        {
            "reason": "provider_limit",
            "message": "40 of 40 calls that the provider admits are in flight.",
            "in_flight": 40,
            "limit": 40,
        },
        {"reason": "queue", "message": "12 jobs of its project go first.", "ahead": 12},
    ],
    "position": {"in_project": 12, "at_least": False, "projects_waiting": 1},
    "start_estimate": {
        "earliest": "2026-11-22T10:00:13.500Z",
        "latest": "2026-11-22T10:00:14.625Z",
    },
    "no_estimate_because": None,
    "running": None,
}
_ENDPOINT_EXAMPLE = {
    "id": "whk_01kapa9j2m5r8t1v4x7z0c3f6h",
    "object": "webhook",
    "url": "https://example.com/hooks/darkroom",
    "description": "the shop",
    "events": ["job.succeeded", "job.failed", "job.canceled", "job.expired"],
    "enabled": True,
    "disabled_reason": None,
    "disabled_at": None,
    "failing_since": None,
    "rate_limit": None,
    "public_keys": ["whpk_…"],
    "rotated_at": None,
    "old_secret_until": None,
    "created_at": "2026-11-20T09:00:00.000Z",
}
_ROTATED: dict[str, object] = {
    "public_keys": ["whpk_…", "whpk_…"],
    "rotated_at": "2026-11-22T10:00:00.000Z",
    "old_secret_until": "2026-11-23T10:00:00.000Z",
}
_DELIVERY_EXAMPLE: dict[str, object] = {
    "id": "dlv_01kar4emr8a3b6d9f2h5k8n1q4",
    "object": "delivery",
    "event_id": "evt_01kar4emr7y0z3b6d9f2h5k8n1",
    "type": "job.succeeded",
    "job_id": "job_01kar4d2c9ez7t6p1m8n5q0rvw",
    "endpoint_id": "whk_01kapa9j2m5r8t1v4x7z0c3f6h",
    "url": "https://example.com/hooks/darkroom",
    "state": "pending",
    "created_at": "2026-11-22T10:00:41.512Z",
    "finished_at": None,
    "next_try_at": "2026-11-22T10:00:46.902Z",
    "tries": [
        {
            "number": 1,
            "at": "2026-11-22T10:00:41.540Z",
            "http_status": 500,
            "latency_ms": 212,
            "result": "HTTP 500",
        }
    ],
}
_PING: dict[str, object] = {"type": "ping", "job_id": None}


def _json(example: object, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


JOB: Responses = {200: _json(_JOB_EXAMPLE, "The job as it is now.")}
STREAM: Responses = {200: {
    "description": "Server-Sent Events named `job`: a snapshot first, then each change. `data` is the "
    "job as GET shows it, `id` its ETag; send it as `Last-Event-ID` to resume.",
    # `itemSchema` as in OpenAPI 3.2, and as FastAPI writes it: what each event is.
    "content": {"text/event-stream": {"itemSchema": {
        "type": "object", "required": ["id", "event", "data"], "properties": {
            "id": {"type": "string"}, "event": {"const": "job"},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    }}},
}}  # fmt: skip
ACCEPTED: Responses = {202: _json(
    _JOB_EXAMPLE | {"status": "queued", "waiting_reason": "queue", "attempts": [], "result": None,
                    "started_at": None, "finished_at": None,
                    "cost": _JOB_EXAMPLE["cost"] | {"charged": 0, "held": 91000}},  # type: ignore[operator]  # a dict above
    "Accepted: the job survives whatever dies from here on.",
)}  # fmt: skip
ERASED: Responses = {204: {"description": "Its input and images are erased, or were before."}}
PAGE: Responses = {200: _json(
    {"object": "list", "data": [_JOB_EXAMPLE], "has_more": False, "next_cursor": None},
    "A page, newest first.",
)}  # fmt: skip
EXPLANATION: Responses = {200: _json(
    _EXPLANATION_EXAMPLE, "What binds the job now. `binding` is empty unless it waits.",
)}  # fmt: skip
ENDPOINT: Responses = {200: _json(_ENDPOINT_EXAMPLE, "The endpoint as it is now.")}
ENDPOINT_MADE: Responses = {201: _json(
    _ENDPOINT_EXAMPLE | {"secret": "whsec_…"}, "The endpoint, and its secret, this once.",
)}  # fmt: skip
ENDPOINT_ROTATED: Responses = {200: _json(
    _ENDPOINT_EXAMPLE | _ROTATED | {"secret": "whsec_…"},
    "The endpoint, and its fresh secret, this once.",
)}  # fmt: skip
DELIVERY: Responses = {200: _json(_DELIVERY_EXAMPLE, "The delivery as it is now.")}
DELIVERIES: Responses = {200: _json(
    {"object": "list", "data": [_DELIVERY_EXAMPLE], "has_more": False, "next_cursor": None},
    "A page, newest first.",
)}  # fmt: skip
REDELIVERED: Responses = {
    202: _json(_DELIVERY_EXAMPLE, "It is due now; `tries` keeps what was met before.")
}
TESTED: Responses = {200: _json(
    _DELIVERY_EXAMPLE | _PING | {"message": "Not delivered: HTTP 500, after 212 ms."},
    "What became of the ping; `message` says it in a sentence.",
)}  # fmt: skip
REPLAYED: Responses = {200: _json(
    {"object": "replay", "replayed": 1000, "has_more": True, "next_cursor": "eyJz…"},
    "How many are due again now, and the cursor to go on with.",
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


# What the busiest routes read themselves: as parameters FastAPI would look at their types again for each of
# thousands of requests.
def _parameter(
    where: str, name: str, title: str, description: str, **type_: object
) -> dict[str, object]:
    schema = {"anyOf": [type_ or {"type": "string"}, {"type": "null"}], "title": title}
    return {
        "name": name,
        "in": where,
        "required": False,
        "schema": schema | {"description": description},
        "description": description,
    }


WAIT_MAX = 60  # seconds that a client is held at most
WITH_KEY = {
    "parameters": [
        _parameter(
            "header",
            "idempotency-key",
            "Idempotency-Key",
            "1-255 visible ASCII characters; one key, one job.",
        )
    ]
}
WITH_POLL = {
    "parameters": [
        _parameter(
            "query", "wait", "Wait", "seconds to hold", type="integer", minimum=0, maximum=WAIT_MAX
        ),
        _parameter("header", "prefer", "Prefer", "`wait=30` holds like `?wait=30`"),
        _parameter(
            "header", "if-none-match", "If-None-Match", "an ETag: 304 while it still stands"
        ),
    ]
}
