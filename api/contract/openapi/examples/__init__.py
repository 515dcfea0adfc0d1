"""What answers look like, for people who read the OpenAPI: each fits its shape."""

from api.contract.openapi.examples.jobs import ACCEPTED, ACTION, ERASURE, EXPLANATION, JOB, PREVIEW
from api.contract.openapi.examples.money import BUDGET, KEY, LINE, QUOTE, USAGE
from api.contract.openapi.examples.webhooks import (
    DELIVERY,
    ENDPOINT,
    HEALTH,
    PING,
    REPLAY,
    ROTATED,
)
from models.platform.jsonable import Json

__all__ = ["ALL", "ENDPOINT", "JOB", "LINE", "QUOTE"]


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
    "EndpointHealth": HEALTH,
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
