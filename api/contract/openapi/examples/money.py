"""Keys, and what they may spend and have spent, as answers show them."""

from models.platform.jsonable import Json

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
