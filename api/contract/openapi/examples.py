"""What answers look like, for people who read the OpenAPI: each fits its shape."""

from models.platform.jsonable import Json

JOB: Json = {
    "id": "job_01kar4d2c9ez7t6p1m8n5q0rvw",
    "object": "job",
    "sequence": 4,
    "status": "succeeded",
    "has_image": True,
    "charged": "yes",
    "input": {
        "model": "bytedance/seedream-5-0-lite-preview",
        "prompt": "A T-Rex in a business suit, drinking from a blue mug in a small café",
        "image_size": "2K",
    },
    "metadata": {"order": "A-17"},
    "tags": [],
    "customer": None,
    "batch_id": None,
    "custom_id": None,
    "priority": "standard",
    "created_at": "2026-11-22T10:00:00.000Z",
    "started_at": "2026-11-22T10:00:00.031Z",
    "finished_at": "2026-11-22T10:00:41.512Z",
    "erased_at": None,
    "queue_expires_at": "2026-11-23T10:00:00.000Z",
    "deadline": None,
    "expired_by": None,
    "waiting_reason": None,
    "attempts": [
        {
            "number": 1,
            "outcome": "image",
            "charge": {"state": "settled", "credits": 91000, "adjusted": 0},
            "http_status": 200,
            "inference_id": "inf-7c1f",
            "client_request_id": "job_01kar4d2c9ez7t6p1m8n5q0rvw:1",
            "sent_at": "2026-11-22T10:00:00.031Z",
            "finished_at": "2026-11-22T10:00:41.200Z",
            "error": None,
        }
    ],
    "cost": {
        "estimated": 91000,
        "charged": 91000,
        "adjusted": 0,
        "unknown": 0,
        "unknown_until": None,
        "held": 0,
        "unit": "credits",
        "usd": {
            "estimated": "0.0455",
            "charged": "0.0455",
            "adjusted": "0.00",
            "unknown": "0.00",
            "held": "0.00",
        },
    },
    "result": {
        "data": [
            {
                "url": "https://darkroom.example/v1/jobs/job_01kar4d2c9ez7t6p1m8n5q0rvw/images/0?exp=1795996800&sig=…",
                "size": "2048x2048",
                "content_type": "image/jpeg",
                "bytes": 315998,
                "width": 2048,
                "height": 2048,
                "sha256": "9f2c…",
                "expires_at": "2026-12-22T10:00:41.512Z",
                "url_expires_at": "2026-11-30T00:00:00.000Z",
                "thumbnail_url": "https://darkroom.example/v1/jobs/job_01kar4d2c9ez7t6p1m8n5q0rvw/images/0/thumbnail?exp=1795996800&sig=…",
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
ACCEPTED: Json = JOB | {
    "sequence": 1,
    "status": "queued",
    "has_image": False,
    "charged": "no",
    "waiting_reason": "queue",
    "attempts": [],
    "result": None,
    "started_at": None,
    "finished_at": None,
    "cost": {
        "estimated": 91000,
        "charged": 0,
        "adjusted": 0,
        "unknown": 0,
        "unknown_until": None,
        "held": 91000,
        "unit": "credits",
        "usd": {
            "estimated": "0.0455",
            "charged": "0.00",
            "adjusted": "0.00",
            "unknown": "0.00",
            "held": "0.0455",
        },
    },
}

EXPLANATION: Json = {
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
ENDPOINT: Json = {
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
    "signed_by": "own",
    "public_keys": ["whpk_…"],
    "rotated_at": None,
    "old_secret_until": None,
    "created_at": "2026-11-20T09:00:00.000Z",
}
ROTATED: Json = ENDPOINT | {
    "public_keys": ["whpk_…", "whpk_…"],
    "rotated_at": "2026-11-22T10:00:00.000Z",
    "old_secret_until": "2026-11-23T10:00:00.000Z",
    "secret": "whsec_…",
}
DELIVERY: Json = {
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
PING: Json = DELIVERY | {
    "type": "ping",
    "job_id": None,
    "message": "Not delivered: HTTP 500, after 212 ms.",
}
REPLAY: Json = {"object": "replay", "replayed": 1000, "has_more": True, "next_cursor": "eyJz…"}
KEY: Json = {
    "id": "key_01kapa7hx2f4v8q6m3c5t9n0wd",
    "object": "api_key",
    "name": "the shop",
    "hint": "dr_live_7x2k_…",
    "scopes": ["jobs:write", "jobs:read"],
    "created_at": "2026-11-20T09:00:00.000Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-11-22T10:00:00.000Z",
}
BUDGET: Json = {
    "id": "bud_01kar4b8w3e6h9m2p5s8v1y4a7",
    "object": "budget",
    "scope": "project",
    "key_id": None,
    "customer": None,
    "window": "day",
    "timezone": "Europe/Berlin",
    "mode": "hard",
    "limit": 2000000,
    "spent": 91000,
    "held": 91000,
    "left": 1818000,
    "window_starts_at": "2026-11-21T23:00:00.000Z",
    "window_ends_at": "2026-11-22T23:00:00.000Z",
    "unit": "credits",
}
_COST: Json = {"credits": 91000, "usd": "0.0455"}
_NONE: Json = {"credits": 0, "usd": "0.00"}
_SUMS: Json = {
    "jobs": {"submitted": 2, "succeeded": 1, "failed": 0, "canceled": 0, "expired": 0},
    "attempts": 2,
    "charged": _COST,
    "unknown": _NONE,
    "held": _COST,
    "saved": _NONE,
}
USAGE: Json = {
    "object": "usage",
    "from": "2026-11-01T00:00:00.000Z",
    "to": "2026-12-01T00:00:00.000Z",
    "tz": "Europe/Berlin",
    "group_by": ["day", "tag"],
    "data": [{"day": "2026-11-22", "tag": "catalog", "overlapping": True, **_SUMS}],
    "totals": _SUMS,
}
LINE: Json = {
    "at": "2026-11-22T10:00:41.200Z",
    "made_at": "2026-11-22T10:00:40.917Z",
    "job": "job_01kar4d2c9ez7t6p1m8n5q0rvw",
    "attempt": 1,
    "kind": "charge",
    **_COST,
    "key": "key_01kapa7hx2f4v8q6m3c5t9n0wd",
    "customer": "c_9",
    "inference_id": "inf-7c1f",
    "reference": "",
}
QUOTE: Json = {
    "object": "quote",
    "model": "bytedance/seedream-5-0-lite-preview",
    "price": {**_COST, "per": "image", "source": "catalog"},
    "estimated": _COST,
    "worst_case": {"credits": 182000, "usd": "0.091"},
    "max_attempts": 5,
    "max_cost": 182000,
}
ACTION: Json = {
    "id": "act_01kar4d2c9ez7t6p1m8n5q0rvw",
    "object": "action",
    "action": "retry",
    "filter": {"status": ["failed"], "created_after": "2026-11-22T10:00:00.000Z"},
    "status": "running",
    "stopped_because": None,
    "count": 412,
    "done": 150,
    "skipped": 2,
    "failed": 0,
    "reasons": [
        {
            "code": "changed",
            "count": 2,
            "message": "It fits the filter no more, or something else has done the same to it.",
            "job": "job_01kar4d2c9ez7t6p1m8n5q0rvw",
        }
    ],
    "created_at": "2026-11-22T12:00:00.000Z",
    "finished_at": None,
}
PREVIEW: Json = {
    "object": "action_preview",
    "action": "retry",
    "filter": {"status": ["failed"], "created_after": "2026-11-22T10:00:00.000Z"},
    "count": 412,
    "credits": 37492000,
    "usd": "18.746",
}
ERASURE: Json = {
    "id": "ers_01kar4d2c9ez7t6p1m8n5q0rvw",
    "object": "erasure",
    "subject": "customer",
    "about": None,
    "digest": "q5Ud0cVh1nS8mZ3kX7yB2w",
    "status": "completed",
    "phase": "completed",
    "jobs": {"erased": 412, "canceled": 3, "waiting": 0, "sha256": "9f2c…"},
    "removed": {
        "images": 401,
        "references": 12,
        "attempts": 420,
        "events": 412,
        "deliveries": 0,
        "calls": 0,
        "idempotency_keys": 412,
        "ledger_lines": 1230,
        "usage_hours": 88,
        "budgets": 1,
        "notices": 1,
        "actions": 0,
        "batches": 0,
    },
    "created_at": "2026-11-22T12:00:00.000Z",
    "rows_erased_at": "2026-11-22T12:00:41.000Z",
    "completed_at": "2026-11-22T12:06:02.000Z",
}


def _page(*shown: Json) -> Json:
    return {"object": "list", "data": [*shown], "has_more": False, "next_cursor": None}


ALL: dict[str, Json] = {
    "Job": JOB,
    "AcceptedJob": ACCEPTED,
    "JobPage": _page(JOB),
    "Explanation": EXPLANATION,
    "Erasure": ERASURE,
    "ErasurePage": _page(ERASURE),
    "Action": ACTION,
    "ActionPage": _page(ACTION),
    "ActionPreview": PREVIEW,
    "Endpoint": ENDPOINT,
    "EndpointMade": ENDPOINT | {"secret": "whsec_…"},
    "EndpointRotated": ROTATED,
    "Delivery": DELIVERY,
    "DeliveryPage": _page(DELIVERY),
    "TestDelivery": PING,
    "Replay": REPLAY,
    "SharedImage": {
        "object": "shared_image",
        "url": "https://darkroom.example/v1/jobs/job_01kar4d2c9ez7t6p1m8n5q0rvw/images/0?exp=1764000000&sig=…",
        "expires_at": "2026-11-22T11:00:00.000Z",
    },
    "ApiKey": KEY,
    "ApiKeyMade": KEY | {"key": "dr_live_…"},
    "Budget": BUDGET,
    "UsageReport": USAGE,
    "LedgerPage": _page(LINE),
    "Quote": QUOTE,
    "Healthy": {"status": "ok"},
    "Draining": {"status": "unavailable", "detail": "draining"},
}
"""By the name that OpenAPI has for each."""
