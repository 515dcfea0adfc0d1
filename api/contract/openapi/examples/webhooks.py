"""Endpoints and deliveries, as answers show them."""

from models.platform.jsonable import Json

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
HEALTH: Json = {
    "object": "webhook.health",
    "endpoint_id": "whk_01kapa9j2m5r8t1v4x7z0c3f6h",
    "tries": 212,
    "succeeded": 209,
    "median_ms": 84,
    "p95_ms": 310,
    "hours": [
        {
            "at": "2026-11-22T10:00:00.000Z",
            "tries": 53,
            "succeeded": 50,
            "median_ms": 91,
            "p95_ms": 402,
        }
    ],
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
